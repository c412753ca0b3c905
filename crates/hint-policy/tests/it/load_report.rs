//! Reports of loading.

use std::path::Path;

use hint_policy::config::Architecture;
use hint_policy::io::LoadProgress;
use hint_policy::model::LoadReport;
use hint_policy::{CausalLm, LoadOptions, LoraConfig, ModelConfig, Policy, SaveOptions};
use tch::Kind;

use crate::gguf_writer;
use crate::model::random_model;

fn config() -> ModelConfig {
    ModelConfig::small(Architecture::Llama, 258)
}

/// Loads, checks that progress goes up to the size of the files, and returns the report.
#[track_caller]
fn load(path: &Path, file: &Path) -> LoadReport {
    let mut seen: Vec<LoadProgress> = Vec::new();
    let model =
        CausalLm::load_with(path, &LoadOptions::default(), |progress| seen.push(progress)).unwrap();
    let total = std::fs::metadata(file).unwrap().len();
    assert!(seen.len() > model.parameters().len());
    assert!(seen.iter().all(|progress| progress.total == total));
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done));
    assert_eq!((seen[0].done, seen[seen.len() - 1].done), (0, total));
    // Weights are nearly all of a file.
    assert!(seen[seen.len() - 2].done > total / 2);
    let report = model.report();
    assert_eq!(report.files.bytes, total);
    assert_eq!(report.source.as_deref(), Some(path));
    report
}

#[test]
fn reports_say_what_the_files_hold_and_what_is_kept() {
    let model = random_model(&config(), 3);
    let values = config().num_parameters();
    let dir = tempfile::tempdir().unwrap();
    let options = SaveOptions { kind: Kind::BFloat16, ..SaveOptions::default() };
    model.save_with(dir.path(), &options).unwrap();
    let report = load(dir.path(), &dir.path().join("model.safetensors"));
    assert_eq!((report.parameters, report.trainable), (values, values));
    assert_eq!((report.bytes, report.stored), (4 * values, Kind::Float));
    assert_eq!(
        report.files.types.clone().into_iter().collect::<Vec<_>>(),
        [("BF16".into(), values)]
    );
    let line = report.to_string();
    assert!(line.starts_with("llama, ") && !line.contains('\n'), "{line}");
    assert!(
        line.contains(" from BF16 ") && line.contains(" of f32 on the CPU, computing in f32"),
        "{line}"
    );

    let path = dir.path().join("model.gguf");
    std::fs::write(&path, gguf_writer::from_policy(&model)).unwrap();
    let report = load(&path, &path);
    assert_eq!(report.files.types.get("F32"), Some(&values));
}

#[test]
fn reports_count_adapters_apart() {
    let model = random_model(&config(), 3);
    let plain = model.report();
    assert_eq!((plain.source, plain.files.bytes), (None, 0));
    let model = model.with_compute(Kind::BFloat16).unwrap();
    let model = model.with_lora(&LoraConfig::default(), 1).unwrap();
    let adapters: usize = model.parameters().iter().map(|p| p.tensor.numel()).sum();
    let report = model.report();
    assert_eq!((report.parameters, report.trainable), (plain.parameters + adapters, adapters));
    assert_eq!(report.bytes, 2 * plain.parameters + 4 * adapters);
    assert!(report.to_string().contains("M trained"), "{report}");
}
