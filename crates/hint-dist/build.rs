//! Compiles the C++ side of Gloo and NCCL, and lets the tests of this package find libtorch at run time.

fn main() {
    hint_libtorch::link();
    #[cfg(feature = "gloo")]
    native::compile();
}

#[cfg(feature = "gloo")]
mod native {
    use std::path::Path;

    /// Compiles `native` against the headers of libtorch.
    #[expect(clippy::disallowed_methods, reason = "cargo passes what it knows in the environment")]
    pub(super) fn compile() {
        println!("cargo::rerun-if-changed=native");
        // The documentation is built where no libtorch is.
        if std::env::var_os("CARGO_FEATURE_DOC_ONLY").is_some() {
            #[cfg(feature = "nccl")]
            std::fs::write(library(), "").expect("cargo's folder can be written");
            return;
        }
        let lib = hint_libtorch::libraries().expect("libtorch is where torch-sys or LIBTORCH says");
        #[cfg(feature = "nccl")]
        compile_nccl(&lib);
        let mut build = cpp(&lib);
        #[cfg(feature = "nccl")]
        build.define("HINT_NCCL", None);
        build.file("native/c10d.cpp").compile("hint_c10d");
        println!("cargo::rustc-link-search=native={}", lib.display());
        for library in ["torch_cpu", "c10"] {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }

    /// A compiler that finds the headers of libtorch.
    fn cpp(lib: &Path) -> cc::Build {
        let include = lib.parent().expect("`lib` is in the folder of libtorch").join("include");
        let api = include.join("torch/csrc/api/include");
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").include("native/stub");
        // As system headers: their warnings are not ours.
        for folder in [include, api] {
            build.flag("-isystem").flag(folder);
        }
        build
    }

    /// The library that `src/ffi.rs` includes.
    #[cfg(feature = "nccl")]
    #[expect(clippy::disallowed_methods, reason = "cargo passes what it knows in the environment")]
    fn library() -> std::path::PathBuf {
        let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
        Path::new(&folder).join("libhint_nccl.so")
    }

    /// Links `native/nccl.cpp` into a library of its own: it needs libtorch's CUDA library, which the program shall not.
    #[cfg(feature = "nccl")]
    #[expect(clippy::disallowed_methods, reason = "a toolkit is where the user says")]
    fn compile_nccl(lib: &Path) {
        println!("cargo::rerun-if-env-changed=CUDA_HOME");
        let toolkit = std::env::var_os("CUDA_HOME");
        let folders = match hint_libtorch::cuda_headers(lib, toolkit.as_deref().map(Path::new)) {
            Ok(folders) => folders,
            Err(missing) => {
                // Cargo reports it when this program is done.
                println!("cargo::error=the feature `nccl` {missing}");
                return;
            }
        };
        let mut build = cpp(lib);
        build.debug(false);
        for folder in folders {
            build.flag("-isystem").flag(folder);
        }
        // Behind all others: a part of `nv/target` for where that is missing.
        build.flag("-isystem").flag("native/stub/cuda");
        let mut command = build.get_compiler().to_command();
        command.args(["-shared", "-fPIC", "-fvisibility=hidden", "-s", "native/nccl.cpp", "-o"]);
        command.arg(library()).arg("-L").arg(lib).arg("-Wl,-z,defs");
        command.arg(format!("-Wl,-rpath,{}", lib.display()));
        command.args(["-ltorch_cuda", "-ltorch_cpu", "-lc10_cuda", "-lc10", "-ldl"]);
        let status = command.status().expect("the compiler of `native/c10d.cpp` starts");
        if !status.success() {
            println!("cargo::error=`native/nccl.cpp` does not compile: {command:?}");
        }
    }
}
