//! Names of repositories on the Hugging Face Hub.

use std::fmt;
use std::path::Path;

/// The name of a model or data set on the Hugging Face Hub. It is `owner/name`, with `@revision` for a branch,
/// tag or commit, and `:part` for a part of it.
///
/// ```
/// use hint_rl::hub::HubName;
///
/// let name = HubName::parse("openai/gsm8k@main:main/train").expect("it is one");
/// assert_eq!((name.repo(), name.revision(), name.part()), ("openai/gsm8k", "main", Some("main/train")));
/// assert_eq!(HubName::parse("data/train.jsonl"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    repo: String,
    revision: Option<String>,
    part: Option<String>,
}

/// Ends of a mistyped path, in small letters.
const ENDINGS: [&str; 11] = [
    ".csv",
    ".gguf",
    ".gz",
    ".json",
    ".jsonl",
    ".parquet",
    ".safetensors",
    ".toml",
    ".tsv",
    ".txt",
    ".zst",
];

impl HubName {
    /// Reads a name. `None` for a text that cannot be one, and for a mistyped path. Such a path ends like a
    /// file, or its first part is a local folder. `owner/name@main` is a name in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, part) = match text.split_once(':') {
            Some((name, part)) => (name, Some(part)),
            None => (text, None),
        };
        let (repo, revision) = match name.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (name, None),
        };
        let (owner, short) = repo.split_once('/')?;
        let lower = repo.to_lowercase();
        let is_path =
            ENDINGS.iter().any(|ending| lower.ends_with(ending)) || Path::new(owner).exists();
        if (revision.is_none() && is_path) || !is_valid(owner) || !is_valid(short) {
            return None;
        }
        let is_inside = |path: &str| {
            !path.is_empty() && path.split('/').all(|step| !matches!(step, "" | "." | ".."))
        };
        if !revision.is_none_or(is_inside) || !part.is_none_or(is_inside) {
            return None;
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Self { repo: repo.to_owned(), revision: owned(revision), part: owned(part) })
    }

    /// Owner and name.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Branch, tag or commit; `main` by default.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The part. Of a model it is a folder or a GGUF file. Of a data set it is a split, a subset,
    /// `subset/split`, or a file.
    pub fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// Whether the revision is a commit, which always stands for the same files.
    pub fn is_pinned(&self) -> bool {
        is_commit(self.revision())
    }

    /// The same name with a part.
    #[must_use]
    pub fn with_part(&self, part: &str) -> Self {
        Self { part: Some(part.to_owned()), ..self.clone() }
    }

    /// The same name at a commit.
    #[must_use]
    pub fn at(&self, commit: &str) -> Self {
        Self { revision: Some(commit.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(part) = &self.part {
            write!(f, ":{part}")?;
        }
        Ok(())
    }
}

/// Whether a revision is the hash of a commit.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the Hub takes this as the name of an owner or of a repository.
fn is_valid(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= 96
        && name.bytes().all(is_known)
        && name.starts_with(|start: char| start.is_ascii_alphanumeric())
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for text in [
            "Qwen/Qwen2.5-0.5B-Instruct",
            "openai/gsm8k@refs/convert/parquet:main/train",
            "a/b.json@main",
            "src-of/x:data/train.jsonl",
        ] {
            let name = HubName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
        }
        // Tests run in the folder of the crate, where `src` is a folder.
        for text in [
            "tiny",
            "a/b/c",
            "./a",
            "../a/b",
            "/a/b",
            "~/a",
            "src/absent",
            "a/b.GGUF",
            "a/../b",
            "a/b@",
            "a/b:",
            "a/b:../c",
            "a/b@../c",
            "-a/b",
            "a /b",
            "data/train.jsonl.zst",
        ] {
            assert_eq!(HubName::parse(text), None, "{text}");
        }
        assert!(HubName::parse("src/absent@main").is_some());
    }

    #[test]
    fn a_commit_pins_a_name() {
        let name = HubName::parse("a/b:train").unwrap();
        assert!(!name.is_pinned() && !name.at("main").is_pinned());
        let pinned = name.at("0123456789abcdef0123456789abcdef01234567");
        assert!(pinned.is_pinned());
        assert_eq!(pinned.to_string(), "a/b@0123456789abcdef0123456789abcdef01234567:train");
        assert_eq!(HubName::parse(&pinned.to_string()), Some(pinned));
    }
}
