//! Lets the tests and benches of this package find libtorch at run time, without an environment variable.

use std::path::Path;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo passes metadata of dependencies in the environment"
)]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    if let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") {
        let lib = Path::new(&lib).canonicalize().unwrap_or_else(|_| Path::new(&lib).to_path_buf());
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
}
