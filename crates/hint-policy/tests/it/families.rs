//! The table of families in the documentation, and folders of all of them in transformers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hint_policy::config::Architecture;
use hint_policy::{CausalLm, LoadOptions, Policy as _};
use serde_json::Value;

use crate::golden::{EXACT, golden_dir, model_dirs};
use crate::reload;

/// The folders of golden models, by family.
fn by_family() -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut families = BTreeMap::<_, Vec<_>>::new();
    for dir in model_dirs() {
        let model = CausalLm::load(&dir, &LoadOptions::default()).unwrap();
        families.entry(model.config().architecture.model_type()).or_default().push(dir);
    }
    families
}

/// Adapters of PEFT, by the golden model that they change.
fn adapters() -> BTreeMap<String, Vec<String>> {
    let mut adapters = BTreeMap::<_, Vec<_>>::new();
    for dir in std::fs::read_dir(golden_dir().0.join("adapters")).unwrap() {
        let dir = dir.unwrap().path();
        let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let base = expected["base"].as_str().unwrap_or_default().to_owned();
        adapters.entry(base).or_default().push(name(&dir));
    }
    adapters
}

/// Versions of transformers that loaded what was saved of each golden model, by the model.
fn reloaded() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(golden_dir().0.join("reloaded.json")).unwrap();
    let all: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(&text).unwrap();
    let mut versions = BTreeMap::<_, Vec<_>>::new();
    for (version, models) in all {
        for model in models.into_keys() {
            versions.entry(model).or_default().push(version.clone());
        }
    }
    versions
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().display().to_string()
}

/// Names in quotes, sorted.
fn list(mut names: Vec<String>) -> String {
    names.sort_unstable();
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

/// Every family is compared with transformers, and the documentation says how.
#[test]
fn the_table_of_families_is_that_of_the_goldens() {
    let dirs = by_family();
    let (adapters, reloaded) = (adapters(), reloaded());
    let mut table = String::from(
        "| `model_type` | class | GGUF | golden models | adapters of PEFT | reloaded in transformers |\n\
         |---|---|---|---|---|---|\n",
    );
    for architecture in Architecture::ALL {
        let family = architecture.model_type();
        let models = dirs.get(family).unwrap_or_else(|| panic!("{family} has no golden model"));
        let models: Vec<String> = models.iter().map(|dir| name(dir)).collect();
        let gguf = architecture.gguf_name().map_or("–".to_owned(), |name| format!("`{name}`"));
        let class = architecture.class_name();
        let adapters = models.iter().filter_map(|model| adapters.get(model)).flatten().cloned();
        let adapters = list(adapters.collect());
        let versions = |model: &String| reloaded.get(model).cloned().unwrap_or_default();
        // Those that loaded all.
        let mut loaded = versions(&models[0]);
        loaded.retain(|version| models.iter().all(|model| versions(model).contains(version)));
        let loaded = if loaded.is_empty() { "–".to_owned() } else { loaded.join(", ") };
        let models = list(models);
        writeln!(table, "| `{family}` | `{class}` | {gguf} | {models} | {adapters} | {loaded} |")
            .unwrap();
    }
    let digits = |tolerance: f64| -tolerance.log10();
    writeln!(
        table,
        "\nIn f64, log-probabilities and entropies of every token agree to {:.0} decimal places. Norms of the gradients of every\n\
         parameter agree to {:.0} significant digits, and greedy completions token by token.",
        digits(EXACT.logprob),
        digits(EXACT.grad_norm),
    )
    .unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/families.md");
    let (start, end) = ("<!-- generated -->\n", "<!-- end -->");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(start).expect("the page marks the table");
    let (_, after) = rest.split_once(end).expect("the page marks the end of the table");
    let expected = format!("{before}{start}{table}{end}{after}");
    if crate::blesses() {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "docs/families.md is stale; run this test with HINT_BLESS=1\n{table}"
    );
}

/// What this crate writes is what transformers loaded, and computes the same there.
#[test]
fn transformers_loads_saved_goldens_of_all_families() {
    let saved = tempfile::tempdir().unwrap();
    let mut digests = BTreeMap::new();
    for dir in by_family().into_values().flatten() {
        let to = saved.path().join(name(&dir));
        CausalLm::load(&dir, &LoadOptions::default()).unwrap().save(&to).unwrap();
        let digest = reload::digest(&to, true);
        std::fs::copy(dir.join("expected.json"), to.join("expected.json")).unwrap();
        std::fs::write(to.join("digest.txt"), &digest).unwrap();
        digests.insert(name(&dir), digest);
    }
    reload::check("reload.py", "reloaded.json", saved.path(), &digests);
}
