//! Folders of runs: which of them a path means.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hint_grpo::GrpoConfig;

/// Whether a run wrote into `dir`.
fn is_run(dir: &Path) -> bool {
    dir.join("metrics.jsonl").is_file()
}

/// The run in `folder`. Else the runs of a comparison, which are in it, by name. Else the runs of all comparisons in it.
///
/// # Errors
///
/// A folder that is not there, or holds no run.
pub(crate) fn runs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if is_run(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let name = folder.display();
    // An option's optional value follows `=`, or the next folder would be one.
    ensure!(
        folder.extension().is_none_or(|extension| extension != "html"),
        "`{name}` is no run; to write a report there, use `--html={name}`"
    );
    ensure!(folder.exists(), "`{name}` does not exist; give the `--out` of a run");
    let folders = folders_in(folder)?;
    let mut runs = folders.iter().filter(|dir| is_run(dir)).cloned().collect::<Vec<_>>();
    if runs.is_empty() {
        let deeper = folders.iter().map(|dir| folders_in(dir)).collect::<Result<Vec<_>>>()?;
        runs = deeper.into_iter().flatten().filter(|dir| is_run(dir)).collect();
    }
    ensure!(
        !runs.is_empty(),
        "`{name}` holds no run: neither it, nor a folder in it, nor one a level deeper has a `metrics.jsonl`"
    );
    runs.sort();
    Ok(runs)
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || {
        let name = folder.display();
        format!("cannot list `{name}`; is `{name}` the `--out` of a run?")
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// The configuration of a run, as written there and as resolved.
///
/// # Errors
///
/// A file that cannot be read, or holds no configuration.
pub(crate) fn read_config(dir: &Path) -> Result<(String, GrpoConfig)> {
    let file = dir.join("config.toml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    let config =
        GrpoConfig::from_toml(&text).with_context(|| format!("in `{}`", file.display()))?;
    Ok((text, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_means_its_run_or_the_runs_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runs");
        let error = runs_in(&root).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
        let add = |name: &str| {
            let dir = root.join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("metrics.jsonl"), "").unwrap();
            dir
        };
        std::fs::create_dir_all(root.join("a/hint/checkpoints")).unwrap();
        let error = runs_in(&root).unwrap_err().to_string();
        assert!(error.contains("holds no run"), "{error}");
        let [hint, grpo, other] = [add("a/hint"), add("a/grpo"), add("b/grpo")];
        assert_eq!(runs_in(&grpo).unwrap(), std::slice::from_ref(&grpo));
        assert_eq!(runs_in(&root.join("a")).unwrap(), [grpo.clone(), hint.clone()]);
        assert_eq!(runs_in(&root).unwrap(), [grpo, hint, other]);
        let error = runs_in(Path::new("runs/a.html")).unwrap_err().to_string();
        assert!(error.contains("use `--html=runs/a.html`"), "{error}");
    }
}
