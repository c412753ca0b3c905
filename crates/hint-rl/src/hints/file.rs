//! Writes the hints of any source into a problem file, and continues where it stopped.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hint_grpo::config::{ModelSettings, PromptConfig};
use hint_reward::verifier::VerifierConfig;
use hint_rollout::data::{Columns, DataConfig, HintLevel, parse_row};
use hint_rollout::hint::HintWriter;
use hint_rollout::hint::leak::{LeakCounts, LeakDetector, LeakGuard};
use hint_rollout::hint::source::HintSourceConfig;
use hint_rollout::{HintProvider, HintRequest, Problem, Seed};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::problem_row::problem_row;
use crate::workload::read_all;

/// Settings that decide the hints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerateSettings {
    /// Source of hints.
    pub source: HintSourceConfig,
    /// Treatment of hints that give something away.
    pub leak_guard: LeakGuard,
    /// Comparison with answers.
    #[serde(default)]
    pub verifier: VerifierConfig,
    /// The policy's tokens and template, where it writes the hints.
    #[serde(default)]
    pub model: ModelSettings,
    /// Its prompts.
    #[serde(default)]
    pub prompt: PromptConfig,
    /// Share of help that is asked for, in `[0, 1]`.
    pub level: f64,
    /// Seed of hints that are drawn.
    pub seed: u64,
    /// Checksum of the rows of problems.
    pub problems: u32,
}

/// Result of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct GenerateSummary {
    /// Problems in the file.
    pub problems: usize,
    /// Problems that were done before.
    pub resumed: usize,
    /// Problems of this run that got a hint.
    pub hints: usize,
    /// Problems of this run that got none.
    pub without: usize,
    /// Leaks of this run's hints.
    pub leaks: LeakCounts,
    /// State of the source, such as the requests to a teacher.
    pub state: Value,
}

/// The rows of a text in JSONL.
fn json_lines(text: &str) -> Option<Vec<Map<String, Value>>> {
    let lines = text.lines().map(|line| line.trim_start_matches('\u{feff}'));
    lines.filter(|line| !line.trim().is_empty()).map(|line| parse_row(line).ok()).collect()
}

/// Record beside the output: its settings, and the state of the source.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    settings: GenerateSettings,
    state: Value,
}

/// The problem file to read, and the one to write.
#[derive(Debug)]
pub(super) struct Generation {
    lines: Vec<Map<String, Value>>,
    problems: Vec<Problem>,
    checksum: u32,
    out: PathBuf,
}

impl Generation {
    /// Reads the problems. The rows of a JSONL file stay unchanged; problems of another format become rows under
    /// the usual names.
    ///
    /// # Errors
    ///
    /// Errors of [`DataConfig::read_file`](hint_rollout::data::DataConfig::read_file).
    pub(super) fn open(file: &Path, columns: &Columns, out: &Path) -> Result<Self> {
        let (problems, _) = read_all(file, columns, DataConfig::default().max_dropped_frac)?;
        let lines = std::fs::read_to_string(file).ok().and_then(|text| json_lines(&text));
        let lines = lines.filter(|lines| lines.len() == problems.len());
        let lines = lines.unwrap_or_else(|| problems.iter().map(problem_row).collect());
        let mut checksum = crc32fast::Hasher::new();
        for line in &lines {
            checksum.update(json!(line).to_string().as_bytes());
        }
        let checksum = checksum.finalize();
        Ok(Self { lines, problems, checksum, out: out.to_path_buf() })
    }

    /// Checksum of the rows.
    pub(super) const fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Number of problems.
    pub(super) const fn len(&self) -> usize {
        self.problems.len()
    }

    /// Asks for the hints that are not written yet, `batch` at a time, and appends them. `progress`
    /// gets the number of finished problems; when it returns false the run ends after the batch.
    ///
    /// Each line is the problem's own with `abstract_hint` and `id` set. A batch is written and on disk
    /// before the next one is asked for.
    ///
    /// # Errors
    ///
    /// An output that was made with other settings or problems, errors of the source, a file that
    /// cannot be written. The state of the source is kept, so that a further run continues from
    /// there.
    pub(super) fn run(
        &self,
        settings: &GenerateSettings,
        provider: &dyn HintProvider,
        writer: &mut dyn HintWriter,
        batch: usize,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<GenerateSummary> {
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&self.out)
            .with_context(|| format!("cannot write `{}`", self.out.display()))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!(
                "`{}` is in use by another process; wait for it, or choose another `--out`",
                self.out.display()
            );
        }
        let done = self.resume(&mut file, settings, provider)?;
        let mut summary =
            GenerateSummary { problems: self.len(), resumed: done, ..GenerateSummary::default() };
        self.write_journal(settings, provider)?;
        let detector = LeakDetector::of(&settings.verifier)?;
        let mut going = progress(done);
        let mut at = done;
        while going && at < self.len() {
            let end = self.len().min(at + batch.max(1));
            let request = |index: usize| {
                let seed = Seed::new(settings.seed).named("generate").child(index as u64);
                HintRequest::new(&self.problems[index])
                    .with_level(HintLevel::new(settings.level))
                    .with_seed(seed)
            };
            let requests = (at..end).map(request).collect::<Vec<_>>();
            let hints = settings.leak_guard.hints(&detector, provider, &requests, writer);
            // Also after a failure: what was paid for is not lost.
            self.write_journal(settings, provider)?;
            let mut text = Vec::new();
            for (index, guarded) in (at..end).zip(hints?) {
                summary.leaks.observe(&guarded);
                summary.hints += usize::from(guarded.hint.is_some());
                summary.without += usize::from(guarded.hint.is_none());
                let mut line = self.lines[index].clone();
                line.shift_remove("hint");
                line.shift_remove("abstract_hint");
                line.insert("id".to_owned(), Value::from(self.problems[index].id.clone()));
                if let Some(hint) = guarded.hint {
                    line.insert("abstract_hint".to_owned(), Value::from(hint.text));
                }
                serde_json::to_writer(&mut text, &line)?;
                text.push(b'\n');
            }
            file.write_all(&text)
                .and_then(|()| file.sync_data())
                .with_context(|| format!("cannot write `{}`", self.out.display()))?;
            at = end;
            going = progress(at);
        }
        summary.state = provider.state();
        Ok(summary)
    }

    /// Number of problems that are written. A line that was cut off is taken away.
    fn resume(
        &self,
        file: &mut File,
        settings: &GenerateSettings,
        provider: &dyn HintProvider,
    ) -> Result<usize> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let journal = self.journal_path();
        let text = match std::fs::read_to_string(&journal) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && bytes.is_empty() => {
                return Ok(0);
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "`{}` exists, but not what it was made with, `{}`; choose another `--out`",
                        self.out.display(),
                        journal.display()
                    )
                });
            }
        };
        let before: Journal = serde_json::from_str(&text)
            .with_context(|| format!("cannot read `{}`", journal.display()))?;
        if before.settings != *settings {
            bail!(
                "`{}` was made with other settings or problems (see `{}`); choose another `--out`",
                self.out.display(),
                journal.display()
            );
        }
        provider.load_state(&before.state)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::End(0))?;
        }
        let done = bytes[..whole].split_inclusive(|&byte| byte == b'\n').count();
        ensure!(
            done <= self.len(),
            "`{}` has {done} lines, more than there are problems",
            self.out.display()
        );
        Ok(done)
    }

    fn journal_path(&self) -> PathBuf {
        let mut name = self.out.file_name().unwrap_or_default().to_owned();
        name.push(".made-with.json");
        self.out.with_file_name(name)
    }

    /// Writes the journal; it appears whole.
    fn write_journal(
        &self,
        settings: &GenerateSettings,
        provider: &dyn HintProvider,
    ) -> Result<()> {
        let path = self.journal_path();
        let journal = Journal { settings: settings.clone(), state: provider.state() };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(&serde_json::to_vec_pretty(&journal)?)?;
        file.as_file().sync_data()?;
        file.persist(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hint_rollout::hint::WriteRequest;
    use hint_rollout::hint::leak::LeakAction;
    use hint_rollout::{Hint, RolloutError, hints_from_fn};

    use super::*;

    struct NoWriter;

    impl HintWriter for NoWriter {
        fn write(&mut self, _: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
            Err(RolloutError::other("hint writer", "not asked"))
        }
    }

    fn settings(generation: &Generation) -> GenerateSettings {
        GenerateSettings {
            source: HintSourceConfig::default(),
            leak_guard: LeakGuard { action: LeakAction::Drop, retries: 0 },
            verifier: VerifierConfig::default(),
            model: ModelSettings::default(),
            prompt: PromptConfig::default(),
            level: 1.0,
            seed: 0,
            problems: generation.checksum(),
        }
    }

    /// Ten problems; the hint of the third gives its answer away.
    fn problems(folder: &Path) -> PathBuf {
        let path = folder.join("in.jsonl");
        let line = |index: usize| {
            format!(
                "{{\"question\": \"q{index}\", \"answer\": {index}17, \"hint\": \"old\", \"x\": [1, 12345678901234567890123]}}\n\n"
            )
        };
        std::fs::write(&path, (1..11).map(line).collect::<String>()).unwrap();
        path
    }

    fn open(input: &Path, out: &Path) -> Result<Generation> {
        Generation::open(input, &Columns::default(), out)
    }

    fn run(generation: &Generation, stop_at: usize) -> Result<GenerateSummary> {
        let provider = hints_from_fn("letters", |request| {
            let question = &request.problem.question;
            let leaks = question == "q3";
            Some(Hint::new(if leaks { "317".to_owned() } else { format!("think of {question}") }))
        });
        let settings = settings(generation);
        generation.run(&settings, &provider, &mut NoWriter, 2, |done| done < stop_at)
    }

    #[test]
    fn a_stopped_and_cut_off_output_is_finished_to_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let input = problems(folder.path());
        let whole = folder.path().join("whole.jsonl");
        let summary = run(&open(&input, &whole).unwrap(), 99).unwrap();
        assert_eq!((summary.hints, summary.without, summary.resumed), (9, 1, 0));
        assert_eq!((summary.leaks.leaking, summary.leaks.dropped), (1, 1));

        let parts = folder.path().join("parts.jsonl");
        let generation = open(&input, &parts).unwrap();
        run(&generation, 4).unwrap();
        let mut file = File::options().append(true).open(&parts).unwrap();
        file.write_all(b"{\"question\": \"q5\", \"ab").unwrap();
        let summary = run(&generation, 99).unwrap();
        assert_eq!((summary.resumed, summary.hints), (4, 6));
        assert_eq!(std::fs::read(&parts).unwrap(), std::fs::read(&whole).unwrap());
        assert_eq!(run(&generation, 99).unwrap().resumed, 10);

        let read = hint_rollout::read_problems(&whole).unwrap();
        let hints = read.iter().map(|problem| problem.hint.as_deref()).collect::<Vec<_>>();
        assert_eq!(&hints[1..4], [Some("think of q2"), None, Some("think of q4")]);
        assert_eq!(read[0].columns["x"], serde_json::json!([1, "12345678901234567890123"]));
    }

    #[test]
    fn an_output_has_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (input, out) = (problems(folder.path()), folder.path().join("out.jsonl"));
        let generation = open(&input, &out).unwrap();
        let mut refused = None;
        let provider = hints_from_fn("letters", |_| Some(Hint::new("think".to_owned())));
        let during = |done| {
            if done == 4 {
                refused = Some(run(&generation, 99).unwrap_err().to_string());
            }
            true
        };
        generation.run(&settings(&generation), &provider, &mut NoWriter, 2, during).unwrap();
        let refused = refused.unwrap();
        assert!(refused.contains("in use by another process"), "{refused}");
        assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 10);
    }

    #[test]
    fn a_table_with_columns_of_other_names_becomes_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (input, out) = (folder.path().join("in.csv"), folder.path().join("out.jsonl"));
        std::fs::write(&input, "id,task,answer,topic\na,q1,17,x\nb,q2,27,y\n").unwrap();
        let columns = serde_json::from_value(json!({ "question": "task" })).unwrap();
        run(&Generation::open(&input, &columns, &out).unwrap(), 99).unwrap();
        let read = hint_rollout::read_problems(&out).unwrap();
        let hints = read.iter().map(|problem| problem.hint.as_deref()).collect::<Vec<_>>();
        assert_eq!(hints, [Some("think of q1"), Some("think of q2")]);
        assert_eq!(
            (&*read[1].id, &*read[1].answer, &read[1].columns["topic"]),
            ("b", "27", &json!("y"))
        );
    }

    #[test]
    fn an_output_of_other_settings_is_not_continued() {
        let folder = tempfile::tempdir().unwrap();
        let input = problems(folder.path());
        let out = folder.path().join("out.jsonl");
        run(&open(&input, &out).unwrap(), 4).unwrap();
        std::fs::write(&input, "{\"question\": \"other\", \"answer\": 1}\n").unwrap();
        let error = run(&open(&input, &out).unwrap(), 99).unwrap_err();
        assert!(error.to_string().contains("other settings or problems"), "{error}");
        std::fs::remove_file(folder.path().join("out.jsonl.made-with.json")).unwrap();
        let error = run(&open(&input, &out).unwrap(), 99).unwrap_err();
        assert!(error.to_string().contains("choose another `--out`"), "{error}");
    }
}
