//! Selection of the files of a repository.

use std::collections::BTreeSet;

use hint_rollout::data::named_split;

use super::cache::is_inside;

/// Files of a model's folder besides weights that are read.
const SMALL: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "adapter_config.json",
];
const SINGLE: &str = "model.safetensors";
/// Names the files that a model's weights are in.
pub(super) const INDEX: &str = "model.safetensors.index.json";
const ADAPTER: &str = "adapter_model.safetensors";

/// The files of a model, the weights last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ModelFiles {
    /// All of them, in a folder of the repository, which is empty for the repository itself.
    Folder { folder: String, files: Vec<String> },
    /// Those files without the weights, which this file names.
    Indexed { folder: String, files: Vec<String>, index: String },
    /// One GGUF file.
    Gguf(String),
}

/// The files of a model in a repository: of its folder `part`, or its GGUF file of that name. Only the whole
/// list (`is_whole`) shows that there is one GGUF file: a cache may lack the others.
///
/// # Errors
///
/// Why they are no model that can be read.
pub(super) fn model_files(
    all: &[String],
    part: Option<&str>,
    is_whole: bool,
) -> Result<ModelFiles, String> {
    if let Some(file) = part.filter(|part| is_gguf(part)) {
        let is_there = all.iter().any(|name| name == file);
        return if is_there {
            Ok(ModelFiles::Gguf(file.to_owned()))
        } else {
            Err(format!("it has no file `{file}`; its GGUF files: {}", list(gguf_files(all))))
        };
    }
    let folder = part.map_or_else(String::new, |part| format!("{part}/"));
    let is_there = |name: &str| all.iter().any(|file| *file == format!("{folder}{name}"));
    let place = |name: &&str| format!("{folder}{name}");
    let small = SMALL.iter().filter(|name| is_there(name)).map(place).collect::<Vec<_>>();
    if is_there("config.json") && is_there(SINGLE) {
        return Ok(ModelFiles::Folder { files: [small, vec![place(&SINGLE)]].concat(), folder });
    }
    if is_there("config.json") && is_there(INDEX) {
        let index = place(&INDEX);
        return Ok(ModelFiles::Indexed { folder, files: small, index });
    }
    if is_there("adapter_config.json") && is_there(ADAPTER) {
        return Ok(ModelFiles::Folder { files: [small, vec![place(&ADAPTER)]].concat(), folder });
    }
    let gguf = gguf_files(all);
    match (part, gguf.as_slice()) {
        (None, [one]) if is_whole => Ok(ModelFiles::Gguf((*one).to_owned())),
        (None, [one]) => Err(format!(
            "the cache holds only a GGUF file of it; if it is meant, name it as `:{one}`"
        )),
        (None, [_, ..]) => {
            Err(format!("it has several GGUF files; name one as `:FILE.gguf`: {}", list(&gguf)))
        }
        _ if is_there("config.json") => Err(format!(
            "it has no `{folder}{SINGLE}`, and no `{INDEX}`; other formats of weights are not read"
        )),
        _ => Err(format!("it has no `{folder}config.json`; it holds {}", list(all))),
    }
}

/// The files of weights that an index names.
///
/// # Errors
///
/// An index that is damaged, or that names files outside of the folder.
pub(super) fn indexed(index: &[u8], folder: &str) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let Index { weight_map } =
        serde_json::from_slice(index).map_err(|error| format!("`{INDEX}` is damaged: {error}"))?;
    let files = weight_map.into_values().collect::<BTreeSet<_>>();
    match files.iter().find(|file| !is_inside(file)) {
        Some(outside) => Err(format!("`{INDEX}` names `{outside}`, which is outside of it")),
        None => Ok(files.into_iter().map(|file| format!("{folder}{file}")).collect()),
    }
}

fn gguf_files(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).filter(|name| is_gguf(name)).collect()
}

fn is_gguf(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|ending| ending == "gguf")
}

/// Formats of data, the best first.
const FORMATS: [&[&str]; 4] =
    [&[".parquet"], &[".jsonl", ".ndjson"], &[".json"], &[".csv", ".tsv"]];
/// Files that describe a data set or a model.
const DESCRIPTIONS: [&str; 8] = [
    "added_tokens.json",
    "dataset_dict.json",
    "dataset_info.json",
    "dataset_infos.json",
    "metadata.json",
    INDEX,
    "state.json",
    "vocab.json",
];
/// A file of a data set.
#[derive(Debug)]
struct DataPart<'f> {
    path: &'f str,
    format: usize,
    /// Its folder; empty for the repository itself, for `data` and for folders of splits.
    subset: String,
    split: String,
}

impl DataPart<'_> {
    fn label(&self) -> String {
        if self.subset.is_empty() {
            self.split.clone()
        } else {
            format!("{}/{}", self.subset, self.split)
        }
    }
}

/// A part of a data set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProblemFiles {
    /// Its name.
    pub(super) part: String,
    pub(super) files: Vec<String>,
}

/// The files of problems in a repository. `part` is a file, a split, a subset, or `subset/split`. The default is
/// the split `train`, or the only one, of the repository itself, or of its only subset. A partial list (not
/// `is_whole`) does not show which one is the only one: a cache may hold the test split alone.
///
/// # Errors
///
/// The choices.
pub(super) fn problem_files(
    all: &[String],
    part: Option<&str>,
    is_whole: bool,
) -> Result<ProblemFiles, String> {
    if let Some(file) = part.filter(|part| all.iter().any(|file| file == part)) {
        return Ok(ProblemFiles { part: file.to_owned(), files: vec![file.to_owned()] });
    }
    let parts = all.iter().filter_map(|path| data_part(path)).collect::<Vec<_>>();
    if parts.is_empty() {
        return Err(format!(
            "it has no Parquet, JSON or CSV file; `@refs/convert/parquet` may be a converted copy; it holds {}",
            list(all)
        ));
    }
    let labels = parts.iter().map(DataPart::label).collect::<BTreeSet<_>>();
    let choose = || format!("name a part of it, such as `:{}`: {}", first(&labels), list(&labels));
    let subsets = parts.iter().map(|part| part.subset.as_str()).collect::<BTreeSet<_>>();
    let (subset, split) = match part {
        Some(part) if subsets.contains(part) => (part, None),
        Some(part) => {
            part.rsplit_once('/').map_or(("", Some(part)), |(set, split)| (set, Some(split)))
        }
        None if subsets.contains("") || subsets.len() > 1 || !is_whole => ("", None),
        None => (subsets.first().copied().unwrap_or(""), None),
    };
    let of_subset = parts.iter().filter(|part| part.subset == subset).collect::<Vec<_>>();
    let splits = of_subset.iter().map(|part| part.split.as_str()).collect::<BTreeSet<_>>();
    let split = match split {
        // A longer name is one of its own.
        Some(split) if split.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            named_split(split).unwrap_or(split)
        }
        Some(split) => split,
        None if splits.contains("train") || splits.len() > 1 || !is_whole => "train",
        None => splits.first().copied().unwrap_or("train"),
    };
    let chosen = of_subset.into_iter().filter(|part| part.split == split).collect::<Vec<_>>();
    let Some(format) = chosen.iter().map(|part| part.format).min() else { return Err(choose()) };
    let part = chosen[0].label();
    let mut files = chosen
        .into_iter()
        .filter(|part| part.format == format)
        .map(|part| part.path.to_owned())
        .collect::<Vec<_>>();
    files.sort();
    check_shards(&files)?;
    Ok(ProblemFiles { part, files })
}

/// Content of a data set's file, by its path.
fn data_part(path: &str) -> Option<DataPart<'_>> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.starts_with('.') || DESCRIPTIONS.contains(&name) || SMALL.contains(&name) {
        return None;
    }
    let compressed = [".gz", ".zst", ".bz2", ".xz"];
    let plain = compressed.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let stem = |endings: &[&str]| endings.iter().find_map(|ending| plain.strip_suffix(ending));
    let (format, stem) =
        FORMATS.iter().enumerate().find_map(|(format, endings)| Some((format, stem(endings)?)))?;
    let folders = folder.split('/').filter(|folder| !folder.is_empty()).collect::<Vec<_>>();
    let base = shard(stem).map_or(stem, |(base, ..)| base);
    let of_folders = folders.iter().rev().find_map(|folder| named_split(folder));
    let split = match named_split(base).or(of_folders) {
        Some(split) => split,
        // `default-00000-of-00002`
        None if shard(stem).is_some() => base,
        None => "train",
    };
    let is_subset = |folder: &&&str| **folder != "data" && named_split(folder).is_none();
    let subset = folders.iter().filter(is_subset).copied().collect::<Vec<_>>().join("/");
    Some(DataPart { path, format, subset, split: split.to_owned() })
}

/// `NAME-00001-of-00005`, possibly with a hash: the name, the number, and how many there are.
fn shard(stem: &str) -> Option<(&str, usize, usize)> {
    let (before, after) = stem.rsplit_once("-of-")?;
    let (name, number) = before.rsplit_once('-')?;
    let count = after.split('-').next()?;
    let is_number = |text: &str| text.len() == 5;
    let (number, count) =
        (Some(number).filter(|text| is_number(text))?, Some(count).filter(|text| is_number(text))?);
    Some((name, number.parse().ok()?, count.parse().ok()?))
}

/// Refuses numbered files of which some are missing.
fn check_shards(files: &[String]) -> Result<(), String> {
    let stem = |file: &String| {
        let name = file.rsplit('/').next().unwrap_or_default().to_owned();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let expected = files.iter().filter_map(|file| Some(shard(&stem(file))?.2)).max();
    match expected {
        Some(expected) if files.len() < expected => {
            Err(format!("only {} of its {expected} files are there", files.len()))
        }
        _ => Ok(()),
    }
}

/// The first few of several names.
fn list(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    const SHOWN: usize = 12;
    let names = names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    match names.len() {
        0 => "nothing".to_owned(),
        count if count > SHOWN => {
            format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN)
        }
        _ => names.join(", "),
    }
}

fn first(names: &BTreeSet<String>) -> &str {
    names.first().map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_what_is_read_of_a_model_is_fetched() {
        let all = names(
            "README.md config.json merges.txt model.safetensors onnx/model.onnx pytorch_model.bin \
             tokenizer.json tokenizer_config.json vocab.json sub/config.json sub/model.safetensors",
        );
        let found = model_files(&all, None, true).unwrap();
        let files = names("config.json tokenizer.json tokenizer_config.json model.safetensors");
        assert_eq!(found, ModelFiles::Folder { folder: String::new(), files });
        let found = model_files(&all, Some("sub"), true).unwrap();
        let files = names("sub/config.json sub/model.safetensors");
        assert_eq!(found, ModelFiles::Folder { folder: "sub/".to_owned(), files });

        let all = names(&format!("config.json model-00001-of-00002.safetensors {INDEX}"));
        let ModelFiles::Indexed { files, index, .. } = model_files(&all, None, true).unwrap()
        else {
            panic!("its weights are in several files")
        };
        assert_eq!((files, index), (names("config.json"), INDEX.to_owned()));
        let index = br#"{"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors"}}"#;
        assert_eq!(indexed(index, "x/").unwrap(), names("x/1.safetensors x/2.safetensors"));
        assert!(indexed(b"[]", "").is_err());
        for outside in ["../x", "/dev/zero", "a/../../x"] {
            let index = format!(r#"{{"weight_map": {{"w": "{outside}"}}}}"#);
            assert!(indexed(index.as_bytes(), "").unwrap_err().contains(outside));
        }

        let all = names("adapter_config.json adapter_model.safetensors README.md");
        let ModelFiles::Folder { files, .. } = model_files(&all, None, true).unwrap() else {
            panic!()
        };
        assert_eq!(files, all[..2]);
    }

    #[test]
    fn a_gguf_file_is_named_where_there_are_several() {
        let two = names("m.Q4.gguf m.Q8.gguf README.md");
        assert_eq!(
            model_files(&two, Some("m.Q8.gguf"), false),
            Ok(ModelFiles::Gguf("m.Q8.gguf".to_owned()))
        );
        assert!(
            model_files(&two[1..], None, false).unwrap_err().contains("name it as `:m.Q8.gguf`")
        );
        assert_eq!(
            model_files(&two[1..], None, true),
            Ok(ModelFiles::Gguf("m.Q8.gguf".to_owned()))
        );
        assert!(model_files(&two, None, true).unwrap_err().contains("`m.Q4.gguf`, `m.Q8.gguf`"));
        assert!(
            model_files(&two, Some("m.Q2.gguf"), true).unwrap_err().contains("no file `m.Q2.gguf`")
        );
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_there_is() {
        let error = |text: &str| model_files(&names(text), None, true).unwrap_err();
        assert!(error("README.md train.jsonl").contains("it holds `README.md`, `train.jsonl`"));
        assert!(error("config.json pytorch_model.bin").contains("no `model.safetensors`"));
        assert!(error("").contains("it holds nothing"));
    }

    #[track_caller]
    fn selects(all: &str, part: Option<&str>, expected: &str) {
        let found = problem_files(&names(all), part, true).unwrap();
        assert_eq!(found.files, names(expected), "{all} {part:?}");
        // By its own name, it is the same part wherever it is looked for.
        let again = problem_files(&names(all), Some(&found.part), false).unwrap();
        assert_eq!(again, found);
    }

    #[test]
    fn problems_are_a_split_of_a_subset() {
        let gsm8k = "README.md main/train-00000-of-00001.parquet main/test-00000-of-00001.parquet \
                     socratic/train-00000-of-00001.parquet";
        selects(gsm8k, Some("main"), "main/train-00000-of-00001.parquet");
        selects(gsm8k, Some("main/test"), "main/test-00000-of-00001.parquet");
        selects(gsm8k, Some("socratic/train"), "socratic/train-00000-of-00001.parquet");
        let error = problem_files(&names(gsm8k), None, true).unwrap_err();
        assert!(error.contains("`main/test`, `main/train`, `socratic/train`"), "{error}");
        assert!(problem_files(&names(gsm8k), Some("train"), true).is_err());

        let numina = "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet \
                      data/test-00000-of-00001.parquet dataset_infos.json";
        let train = "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet";
        selects(numina, None, train);
        selects(numina, Some("test"), "data/test-00000-of-00001.parquet");
        let error = problem_files(&names(&numina[33..]), None, true).unwrap_err();
        assert!(error.contains("only 1 of its 2 files"), "{error}");

        selects("data/dapo-math-17k.parquet README.md", None, "data/dapo-math-17k.parquet");
        selects("deepscaler.json", None, "deepscaler.json");
        selects("test.jsonl README.md", None, "test.jsonl");
        let error = problem_files(&names("test.jsonl"), None, false).unwrap_err();
        assert_eq!(error, "name a part of it, such as `:test`: `test`");
        selects("x_val.csv.gz x_train.csv.gz", Some("dev"), "x_val.csv.gz");
        selects(
            "default/train/0000.parquet default/test/0000.parquet",
            None,
            "default/train/0000.parquet",
        );
        selects("all/default-00000-of-00001.parquet", None, "all/default-00000-of-00001.parquet");
        // One format of several, and one file by its name.
        selects(
            "train.jsonl data/train-00000-of-00001.parquet train.csv",
            None,
            "data/train-00000-of-00001.parquet",
        );
        selects(
            "train.jsonl data/train-00000-of-00001.parquet",
            Some("train.jsonl"),
            "train.jsonl",
        );
        let error = problem_files(&names("script.py README.md"), None, true).unwrap_err();
        assert!(error.contains("refs/convert/parquet"), "{error}");
    }
}
