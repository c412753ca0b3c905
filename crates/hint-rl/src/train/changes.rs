//! The memory of a resumed run: its changes, as long as its checkpoints lack them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hint_grpo::Observer;
use hint_grpo::config::Change;
use hint_grpo::observer::Phase;

use super::settings::Settings;

/// Shows the differences of a resumed run, and writes its settings. They are written when it begins, because a run
/// that is refused changes nothing. They are written again when a checkpoint has the changes.
pub(super) struct KeepChanges {
    /// Shared by the methods of a run, which have one file.
    memory: Arc<Mutex<Settings>>,
    method: String,
    has_begun: bool,
}

impl KeepChanges {
    pub(super) fn new(memory: &Arc<Mutex<Settings>>, method: &str) -> Self {
        Self { memory: Arc::clone(memory), method: method.to_owned(), has_begun: false }
    }

    /// Writes the settings, if `change` alters them.
    fn write(&self, change: impl FnOnce(&mut Settings) -> bool) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut memory)
            && let Err(error) = memory.write()
        {
            note!("warning: {error:#}; name the changes again when the run is resumed");
        }
    }
}

impl Observer for KeepChanges {
    fn on_change(&mut self, change: &Change) {
        let short = |value: &serde_json::Value| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if text.chars().count() <= 60 {
                return text;
            }
            text.chars().take(59).chain(['…']).collect()
        };
        note!("changed: {}, {} to {}", change.key, short(&change.before), short(&change.after));
    }

    fn on_phase(&mut self, _step: u64, _phase: Phase) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.write(|settings| !settings.changes.is_empty());
        }
    }

    fn on_checkpoint(&mut self, _dir: &Path) {
        let method = self.method.as_str();
        self.write(|settings| settings.settle(method));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;

    fn resolve(args: &[&str]) -> Settings {
        let args = std::iter::once("hint_grpo").chain(args.iter().copied());
        Options::parse(args).and_then(Options::resolve).unwrap()
    }

    #[test]
    fn a_change_counts_for_each_method_until_its_checkpoint_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let out = out.to_str().unwrap();
        resolve(&["--out", out]).save().unwrap();
        let changed = resolve(&["--resume", out, "--change", "evaluation.max_problems=3"]);
        let open = |settings: &Settings, method: &str| {
            settings.open_changes(method).cloned().collect::<Vec<_>>()
        };
        let data =
            ["columns", "evaluation.max_problems", "held_out", "hints", "problems", "solutions"];
        assert_eq!(open(&changed, "hint"), data);
        let memory = Arc::new(Mutex::new(changed));
        let mut hint = KeepChanges::new(&memory, "hint");
        hint.on_phase(0, Phase::Sync);
        assert_eq!(open(&resolve(&["--resume", out]), "hint"), data);
        hint.on_checkpoint(Path::new("step-1"));
        // The other method begins later.
        KeepChanges::new(&memory, "grpo").on_phase(0, Phase::Sync);
        let settled = resolve(&["--resume", out]);
        assert_eq!(open(&settled, "hint"), [""; 0], "hints that are edited now are another change");
        assert_eq!(open(&settled, "grpo"), data);
        let earlier = resolve(&["--resume", out, "--from-step", "1", "--method", "hint"]);
        assert_eq!(open(&earlier, "hint"), data);
        let changed = resolve(&["--resume", out, "--change", "optimizer.learning_rate=1e-7"]);
        assert_eq!(open(&changed, "hint"), ["optimizer.learning_rate"]);
    }
}
