//! The headers of CUDA and NCCL that a wheel of torch brings along.

use std::fmt;
use std::path::{Path, PathBuf};

/// Headers that C++ of NCCL includes, and the packages that have them.
const NEEDED: [(&str, &str); 6] = [
    ("cuda_runtime_api.h", "nvidia-cuda-runtime"),
    ("crt/host_defines.h", "nvidia-cuda-crt"),
    ("cublas_v2.h", "nvidia-cublas"),
    ("cusparse.h", "nvidia-cusparse"),
    ("cusolverDn.h", "nvidia-cusolver"),
    ("nccl.h", "nvidia-nccl-cu13"),
];

/// A header that is in no folder where [`cuda_headers`] looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingHeader {
    header: &'static str,
    package: &'static str,
    searched: Vec<PathBuf>,
}

impl fmt::Display for MissingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { header, package, searched } = self;
        write!(
            f,
            "needs the header `{header}`; install the Python package {package}, of the CUDA version of torch, beside \
             torch, or set CUDA_HOME to a toolkit. Searched: "
        )?;
        if searched.is_empty() {
            return f.write_str("nothing, as there is no folder `nvidia` beside libtorch");
        }
        let folders = searched.iter().map(|folder| folder.display().to_string());
        f.write_str(&folders.collect::<Vec<_>>().join(", "))
    }
}

impl std::error::Error for MissingHeader {}

/// The folders of the headers of CUDA and NCCL, for a build script that compiles C++ against libtorch's CUDA library.
/// `lib` is the folder of libtorch's [`libraries`](crate::libraries). Those of the wheel are taken first: the packages of NVIDIA
/// beside it, then triton, which has a part of them. Then follows the `toolkit`, if there is one.
///
/// # Errors
///
/// The first header that is in none of them, with the package that has it.
pub fn cuda_headers(lib: &Path, toolkit: Option<&Path>) -> Result<Vec<PathBuf>, MissingHeader> {
    let site = lib.parent().and_then(Path::parent);
    let mut folders = site.map(nvidia_folders).unwrap_or_default();
    folders.extend(site.map(|site| site.join("triton/backends/nvidia/include")));
    folders.extend(toolkit.map(|toolkit| toolkit.join("include")));
    folders.retain(|folder| folder.is_dir());
    let is_there = |header: &str| folders.iter().any(|folder| folder.join(header).is_file());
    match NEEDED.into_iter().find(|(header, _)| !is_there(header)) {
        None => Ok(folders),
        Some((header, package)) => Err(MissingHeader { header, package, searched: folders }),
    }
}

/// The folders `nvidia/*/include`, in the order of their names.
fn nvidia_folders(site: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(site.join("nvidia")) else { return Vec::new() };
    let mut folders =
        entries.flatten().map(|entry| entry.path().join("include")).collect::<Vec<_>>();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts headers below a folder.
    fn put(folder: &Path, headers: &[&str]) {
        for header in headers {
            let path = folder.join(header);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn the_packages_beside_torch_come_before_a_toolkit() {
        let site = tempfile::tempdir().unwrap();
        let (site, lib) = (site.path(), site.path().join("torch/lib"));
        let error = cuda_headers(&lib, None).unwrap_err().to_string();
        assert!(error.contains("no folder `nvidia` beside libtorch"), "{error}");
        let cuda = site.join("nvidia/cu13/include");
        let all = NEEDED.map(|(header, _)| header);
        put(&cuda, &[all[0], all[2], all[3], all[4]]);
        put(&site.join("nvidia/nccl/include"), &["nccl.h"]);
        let error = cuda_headers(&lib, None).unwrap_err().to_string();
        let parts = ["`crt/host_defines.h`", "package nvidia-cuda-crt,", "nvidia/cu13/include, "];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");

        let triton = site.join("triton/backends/nvidia/include");
        put(&triton, &["crt/host_defines.h"]);
        let nccl = site.join("nvidia/nccl/include");
        let expected = vec![cuda, nccl, triton];
        assert_eq!(cuda_headers(&lib, None), Ok(expected.clone()));

        let toolkit = tempfile::tempdir().unwrap();
        put(&toolkit.path().join("include"), &all);
        let found = cuda_headers(&lib, Some(toolkit.path())).unwrap();
        assert_eq!(found, [expected, vec![toolkit.path().join("include")]].concat());
    }

    #[test]
    fn a_toolkit_alone_has_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let toolkit = folder.path().join("cuda");
        put(&toolkit.join("include"), &NEEDED.map(|(header, _)| header));
        let found = cuda_headers(Path::new("/nowhere/torch/lib"), Some(&toolkit));
        assert_eq!(found, Ok(vec![toolkit.join("include")]));
    }
}
