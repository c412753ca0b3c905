//! The table of families in the documentation, and folders of all of them in transformers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hint_policy::config::Architecture;
use hint_policy::{CausalLm, LoadOptions, Policy as _};

use crate::golden::{EXACT, model_dirs};

/// The folders of golden models, by family.
fn by_family() -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut families = BTreeMap::<_, Vec<_>>::new();
    for dir in model_dirs() {
        let model = CausalLm::load(&dir, &LoadOptions::default()).unwrap();
        families.entry(model.config().architecture.model_type()).or_default().push(dir);
    }
    families
}

/// Every family is compared with transformers, and the documentation says how.
#[test]
fn the_table_of_families_is_that_of_the_goldens() {
    let dirs = by_family();
    let mut table =
        String::from("| `model_type` | class | GGUF | golden models |\n|---|---|---|---|\n");
    for architecture in Architecture::ALL {
        let name = architecture.model_type();
        let models = dirs.get(name).unwrap_or_else(|| panic!("{name} has no golden model"));
        let models: Vec<String> = models
            .iter()
            .map(|dir| format!("`{}`", dir.file_name().unwrap_or_default().display()))
            .collect();
        let gguf = architecture.gguf_name().map_or("–".to_owned(), |name| format!("`{name}`"));
        let class = architecture.class_name();
        writeln!(table, "| `{name}` | `{class}` | {gguf} | {} |", models.join(", ")).unwrap();
    }
    let digits = |tolerance: f64| -tolerance.log10();
    writeln!(
        table,
        "\nIn f64, log-probabilities and entropies of every token agree to {:.0} decimal places. Norms of the gradients \
         of every parameter agree to {:.0}\nsignificant digits, and greedy completions token by token.",
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

/// What this crate writes loads in transformers, and computes the same there. `HINT_TRANSFORMERS_PYTHON` is a Python
/// with transformers.
#[test]
fn transformers_loads_saved_goldens_of_all_families() {
    #[expect(clippy::disallowed_methods, reason = "the Python is given from outside")]
    let Some(python) = std::env::var_os("HINT_TRANSFORMERS_PYTHON") else {
        println!("skipped: HINT_TRANSFORMERS_PYTHON names no Python with transformers");
        return;
    };
    let saved = tempfile::tempdir().unwrap();
    for dir in by_family().into_values().flatten() {
        let to = saved.path().join(dir.file_name().unwrap_or_default());
        CausalLm::load(&dir, &LoadOptions::default()).unwrap().save(&to).unwrap();
        std::fs::copy(dir.join("expected.json"), to.join("expected.json")).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gen/reload.py");
    let status = std::process::Command::new(python).arg(script).arg(saved.path()).status().unwrap();
    assert!(status.success());
}
