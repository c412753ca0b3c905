//! Answers on disk: one file each, named by its request.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::TeacherError;

/// A folder of answers.
///
/// A file appears whole or not at all: it is written beside its place and linked there. Of two processes
/// that ask the same at the same time the first one's answer stays, and both use it.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// Content of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Everything that the answer depends on.
    asked: Value,
    /// The answer.
    hint: String,
}

/// Name of a request.
pub(super) fn digest(asked: &Value) -> String {
    HEXLOWER.encode(&Sha256::digest(asked.to_string().as_bytes()))
}

impl Cache {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(&digest[..2]).join(format!("{digest}.json"))
    }

    /// The answer to the request `asked`. A file that cannot be understood counts as none, and is
    /// written again.
    pub(super) fn read(&self, digest: &str, asked: &Value) -> Result<Option<String>, TeacherError> {
        let path = self.path(digest);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice::<Entry>(&bytes)
                .ok()
                .filter(|entry| entry.asked == *asked)
                .map(|entry| entry.hint)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TeacherError::Cache { path, source }),
        }
    }

    /// Keeps an answer, and returns the one that is kept: another process may have been first.
    pub(super) fn write(
        &self,
        digest: &str,
        asked: &Value,
        hint: String,
    ) -> Result<String, TeacherError> {
        let path = self.path(digest);
        let failed = |source| TeacherError::Cache { path: path.clone(), source };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let entry = Entry { asked: asked.clone(), hint };
        let text = serde_json::to_vec_pretty(&entry).map_err(|error| failed(error.into()))?;
        file.write_all(&text).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(entry.hint),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                if let Some(first) = self.read(digest, asked)? {
                    return Ok(first);
                }
                error.file.persist(&path).map_err(|error| failed(error.error))?;
                Ok(entry.hint)
            }
            Err(error) => Err(failed(error.error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_answer_stays_and_broken_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("new"));
        let asked = json!({"problem": "p"});
        let name = digest(&asked);
        assert_eq!(cache.read(&name, &asked).unwrap(), None);
        assert_eq!(cache.write(&name, &asked, "first".to_owned()).unwrap(), "first");
        assert_eq!(cache.write(&name, &asked, "second".to_owned()).unwrap(), "first");
        assert_eq!(cache.read(&name, &asked).unwrap().as_deref(), Some("first"));
        // The same name with another content: nothing of it is believed.
        assert_eq!(cache.read(&name, &json!({"problem": "q"})).unwrap(), None);
        std::fs::write(cache.path(&name), "{\"asked\"").unwrap();
        assert_eq!(cache.read(&name, &asked).unwrap(), None);
        assert_eq!(cache.write(&name, &asked, "third".to_owned()).unwrap(), "third");
        assert_eq!(cache.read(&name, &asked).unwrap().as_deref(), Some("third"));
    }

    #[test]
    fn two_writers_agree() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_path_buf());
        let asked = json!({"problem": "p"});
        let name = digest(&asked);
        let answers = std::thread::scope(|scope| {
            let threads = (0..8).map(|index| {
                let (cache, name, asked) = (&cache, &name, &asked);
                scope.spawn(move || cache.write(name, asked, index.to_string()).unwrap())
            });
            let threads = threads.collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(cache.read(&name, &asked).unwrap().as_ref(), Some(&answers[0]));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::new(file.path().to_path_buf());
        let asked = json!(1);
        let error = cache.write(&digest(&asked), &asked, String::new()).unwrap_err();
        assert!(matches!(error, TeacherError::Cache { .. }));
    }
}
