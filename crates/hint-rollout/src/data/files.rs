//! The files of a data set in a folder.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::RolloutError;

/// Endings of data.
const DATA: [&str; 6] = [".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv"];
/// Endings behind those.
const COMPRESSED: [&str; 4] = [".gz", ".zst", ".bz2", ".xz"];
/// Files that describe a data set.
const DESCRIPTIONS: [&str; 5] =
    ["dataset_dict.json", "dataset_info.json", "dataset_infos.json", "metadata.json", "state.json"];
/// Words for splits.
const SPLITS: [(&str, &str); 9] = [
    ("train", "train"),
    ("training", "train"),
    ("validation", "validation"),
    ("valid", "validation"),
    ("val", "validation"),
    ("dev", "validation"),
    ("test", "test"),
    ("testing", "test"),
    ("eval", "test"),
];

/// The file itself, or the files of a folder that hold its data, those below it included.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, RolloutError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |source| RolloutError::ReadProblems { path: path.to_path_buf(), source };
    let mut all = Vec::new();
    walk(path, &mut all).map_err(failed)?;
    all.sort();
    let is_of_data = |file: &PathBuf| is_data(&name(file));
    if !all.iter().any(is_of_data) {
        all.retain(|file| file.parent() == Some(path));
        return Ok(all);
    }
    all.retain(is_of_data);
    let mut splits = BTreeMap::<&str, PathBuf>::new();
    for file in &all {
        if let Some(split) = split(file.strip_prefix(path).unwrap_or(file)) {
            splits.entry(split).or_insert_with(|| file.clone());
        }
    }
    if splits.len() > 1 {
        let examples =
            splits.iter().map(|(split, file)| format!("{split}, such as `{}`", file.display()));
        let message = format!(
            "the folder holds several splits; name the files or the folder of one: {}",
            examples.collect::<Vec<_>>().join("; ")
        );
        return Err(failed(Error::new(ErrorKind::InvalidInput, message)));
    }
    Ok(all)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if name(&path).starts_with('.') {
            continue;
        }
        // Links to files count, such as those of a cache; links to folders may lead in circles.
        if entry.file_type()?.is_dir() {
            walk(&path, into)?;
        } else if path.is_file() {
            into.push(path);
        }
    }
    Ok(())
}

fn is_data(name: &str) -> bool {
    let plain = COMPRESSED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    DATA.iter().any(|ending| plain.ends_with(ending)) && !DESCRIPTIONS.contains(&plain)
}

/// The split that a file is of, by its name or that of its folder.
fn split(file: &Path) -> Option<&'static str> {
    file.iter().rev().find_map(|part| named_split(&part.to_string_lossy()))
}

/// The split that a name has a word for: `train`, `validation` or `test`.
pub fn named_split(name: &str) -> Option<&'static str> {
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.find_map(|word| {
        let found = SPLITS.iter().find(|(split, _)| word.eq_ignore_ascii_case(split));
        found.map(|(_, name)| *name)
    })
}
