//! Compiles the C++ side of Gloo, and lets the tests of this package find libtorch at run time.

fn main() {
    hint_libtorch::link();
    #[cfg(feature = "gloo")]
    compile();
}

/// Compiles `native/c10d.cpp` against the headers of libtorch.
#[cfg(feature = "gloo")]
#[expect(clippy::disallowed_methods, reason = "cargo passes what it knows in the environment")]
fn compile() {
    println!("cargo::rerun-if-changed=native");
    // The documentation is built where no libtorch is.
    if std::env::var_os("CARGO_FEATURE_DOC_ONLY").is_some() {
        return;
    }
    let lib = hint_libtorch::libraries().expect("libtorch is where torch-sys or LIBTORCH says");
    let include = lib.parent().expect("`lib` is in the folder of libtorch").join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("native/c10d.cpp")
        .include("native/stub")
        // As system headers: their warnings are not ours.
        .flag("-isystem")
        .flag(&include)
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include"))
        .compile("hint_c10d");
    println!("cargo::rustc-link-search=native={}", lib.display());
    for library in ["torch_cpu", "c10"] {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}
