//! `.cargo/libtorch.toml`: the place of libtorch for plain cargo commands.
//!
//! The folder is written as an absolute path. So torch-sys is built again for another libtorch, and is not built
//! again in a second clone that shares the target folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folder that stands for "not set up" in `.cargo/no-libtorch.toml`.
const PLACEHOLDER: &str = ".cargo/no-libtorch";

fn file(repo: &Path) -> PathBuf {
    repo.join(".cargo/libtorch.toml")
}

/// The folder an earlier setup wrote.
pub(super) fn recorded(repo: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file(repo)).ok()?;
    let config: toml::Table = text.parse().ok()?;
    config.get("env")?.get("LIBTORCH")?.get("value")?.as_str().map(PathBuf::from)
}

/// Whether a `LIBTORCH` of this value comes from the configuration: cargo passes its `[env]` on to `xtask` too.
pub fn is_from_config(repo: &Path, folder: &Path) -> bool {
    folder.ends_with(PLACEHOLDER) || recorded(repo).is_some_and(|recorded| recorded == folder)
}

/// Writes `folder`, in one step. Touches nothing when it is written already.
pub(super) fn record(repo: &Path, folder: &Path) -> Result<()> {
    if recorded(repo).is_some_and(|recorded| recorded == folder) {
        return Ok(());
    }
    let path = folder.to_str().with_context(|| {
        format!("`{}` is not UTF-8, which cargo needs; move it to another folder", folder.display())
    })?;
    let file = file(repo);
    let text = format!(
        "# This machine's libtorch, found by the set-up. Delete the file to have libtorch looked for again.\n[env]\nLIBTORCH = {{ value = {} }}\n",
        toml::Value::from(path)
    );
    let fresh = file.with_file_name(format!("libtorch-{}.tmp", std::process::id()));
    std::fs::create_dir_all(repo.join(".cargo"))
        .and_then(|()| std::fs::write(&fresh, text))
        .and_then(|()| std::fs::rename(&fresh, &file))
        .with_context(|| format!("cannot write `{}`", file.display()))?;
    super::note(&format!("libtorch is {}", folder.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_made_kept_and_replaced() {
        let repo = tempfile::tempdir().unwrap();
        let check = |folder: &str| {
            record(repo.path(), Path::new(folder)).unwrap();
            assert_eq!(recorded(repo.path()).as_deref(), Some(Path::new(folder)));
            file(repo.path()).metadata().unwrap().modified().unwrap()
        };
        let made = check("/opt/a \"quoted\" folder");
        assert_eq!(check("/opt/a \"quoted\" folder"), made, "an equal record is not touched");
        check("/opt/b");
        let names = std::fs::read_dir(repo.path().join(".cargo")).unwrap().count();
        assert_eq!(names, 1, "a temporary file is left");
    }

    #[test]
    fn libtorch_of_the_cargo_config_is_not_the_users() {
        let repo = tempfile::tempdir().unwrap();
        record(repo.path(), Path::new("/opt/a")).unwrap();
        assert!(is_from_config(repo.path(), Path::new("/opt/a")));
        assert!(is_from_config(repo.path(), &repo.path().join(PLACEHOLDER)));
        assert!(!is_from_config(repo.path(), Path::new("/opt/b")));
    }

    #[test]
    fn cut_record_counts_as_none() {
        let repo = tempfile::tempdir().unwrap();
        std::fs::create_dir(repo.path().join(".cargo")).unwrap();
        std::fs::write(file(repo.path()), "[env]\nLIBTORCH = { val").unwrap();
        assert_eq!(recorded(repo.path()), None);
    }
}
