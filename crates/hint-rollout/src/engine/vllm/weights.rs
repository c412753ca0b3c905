//! Weights that the servers were given.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::engine::contract::PolicyVersion;

/// Weights in a folder that the servers see, too.
#[derive(Debug)]
pub(super) struct Weights {
    /// `None` where all servers got them from GPU to GPU.
    pub(super) dir: Option<PathBuf>,
    pub(super) version: PolicyVersion,
    /// Hash of the values of an adapter; empty for whole weights.
    pub(super) digest: String,
}

/// Digits of a hash in the name of an adapter.
const DIGITS: usize = 16;

/// The hash of the adapter in `dir`. A server keeps keys and values of prompts by the name of an adapter. So other
/// values must have another name. A run that was resumed has the same step twice.
pub(super) fn digest(dir: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let mut file = File::open(dir.join(name))?;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
    }
    let mut digits = HEXLOWER.encode(&hasher.finalize());
    digits.truncate(DIGITS);
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_follows_from_values_and_shape() {
        let digest = |config: &str, values: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("adapter_config.json"), config).unwrap();
            std::fs::write(dir.path().join("adapter_model.safetensors"), values).unwrap();
            digest(dir.path()).unwrap()
        };
        let one = digest("rank 8", "values");
        assert_eq!(one.len(), DIGITS);
        assert_eq!(one, digest("rank 8", "values"));
        assert_ne!(one, digest("rank 8", "other values"));
        assert_ne!(one, digest("rank 4", "values"));
    }
}
