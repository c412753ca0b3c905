//! Weights of folders: names, heads, missing files.

use hint_policy::Policy;
use hint_policy::io::Inspection;
use serde_json::{Value, json};
use tch::Tensor;

use crate::folders::{
    add_tensors, change, check_refused, config, folder, load, tokenizer_json, write_json,
    write_tensors,
};
use crate::model::random_model;

#[test]
fn a_head_that_differs_under_a_tied_flag_is_refused_and_unused_tensors_are_named() {
    let dir = folder();
    let embedding = load(dir.path()).unwrap().policy.parameters().remove(0).tensor.detach();
    add_tensors(dir.path(), &[("lm_head.weight", embedding.copy())]);
    let report = load(dir.path()).unwrap().policy.report();
    assert!(report.files.unused.is_empty(), "{report}");

    add_tensors(dir.path(), &[("model.rotary.inv_freq", Tensor::ones([3], tch::kind::FLOAT_CPU))]);
    let report = load(dir.path()).unwrap().policy.report();
    assert_eq!(report.files.unused, ["model.rotary.inv_freq"]);
    assert!(report.to_string().contains("`model.rotary.inv_freq`"), "{report}");

    add_tensors(dir.path(), &[("lm_head.weight", &embedding + 1e-3)]);
    check_refused(
        dir.path(),
        &["tie_word_embeddings", "lm_head.weight", "embed_tokens", "set it to false"],
    );
    // As the error says: the head counts once the flag is off.
    change(dir.path(), "tie_word_embeddings", json!(false));
    let loaded = load(dir.path()).unwrap().policy;
    let head = loaded.parameters().pop().unwrap();
    assert_eq!(head.name, "lm_head.weight");
    assert_eq!(head.tensor.detach(), &embedding + 1e-3);
}

#[test]
fn tensors_may_lack_the_prefix_of_the_model_and_other_prefixes_are_named() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    let tensors = Tensor::read_safetensors(&path).unwrap();
    let renamed = |rename: &dyn Fn(&str) -> String| {
        let tensors: Vec<(String, Tensor)> =
            tensors.iter().map(|(name, tensor)| (rename(name), tensor.shallow_clone())).collect();
        let tensors: Vec<(&str, Tensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect();
        let _ = std::fs::remove_file(&path);
        write_tensors(&path, &tensors);
    };
    let before = load(dir.path()).unwrap().policy.parameters();
    renamed(&|name| name.trim_start_matches("model.").to_owned());
    let after = load(dir.path()).unwrap().policy;
    assert!(after.report().files.unused.is_empty());
    assert!(before.iter().zip(after.parameters()).all(|(a, b)| a.tensor.equal(&b.tensor)));
    for prefix in ["_orig_mod.", "module.", "base_model.model."] {
        renamed(&|name| format!("{prefix}{name}"));
        check_refused(dir.path(), &[prefix, "remove the prefix"]);
        let error = Inspection::new(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains(prefix), "{error}");
    }
    // A model of texts' meanings has the class of one that writes.
    let dir = folder();
    write_json(dir.path(), "modules.json", &json!([]));
    check_refused(dir.path(), &["sentence-transformers"]);
}

#[test]
fn weights_in_another_form_are_named() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    let tensors = Tensor::read_safetensors(&path).unwrap();
    let weight = "model.layers.0.self_attn.q_proj.weight";
    for (end, remedy) in [("base_layer.weight", "merge_and_unload"), ("qweight", "quantized")] {
        let name = weight.replace("weight", end);
        let renamed: Vec<(&str, Tensor)> = tensors
            .iter()
            .map(|(old, tensor)| {
                let name = if old == weight { name.as_str() } else { old };
                (name, tensor.shallow_clone())
            })
            .collect();
        let _ = std::fs::remove_file(&path);
        write_tensors(&path, &renamed);
        check_refused(dir.path(), &[&name, remedy]);
        let error = Inspection::new(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
    }
}

/// By headers alone, as when the values are read.
#[test]
fn types_of_tensors_that_are_not_implemented_are_named() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    // As many bytes.
    header["model.norm.weight"]["dtype"] = json!("F8_E4M3");
    let shape = header["model.norm.weight"]["shape"][0].as_u64().unwrap();
    header["model.norm.weight"]["shape"] = json!([4 * shape]);
    let header = header.to_string();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header.as_bytes());
    changed.extend(&bytes[8 + length..]);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, changed).unwrap();
    let error = Inspection::new(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight") && error.contains("F8_E4M3"), "{error}");
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let dir = folder();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    check_refused(dir.path(), &["tokenizer.json", "AutoTokenizer", "save_pretrained"]);

    let dir = folder();
    let weights = dir.path().join("model.safetensors");
    std::fs::rename(&weights, dir.path().join("pytorch_model.bin")).unwrap();
    check_refused(dir.path(), &["model.safetensors", "PyTorch", "save_pretrained"]);

    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let dir = folder();
        std::fs::write(dir.path().join(name), pointer).unwrap();
        check_refused(dir.path(), &[name, "git lfs pull"]);
    }
}

#[test]
fn parts_of_a_folder_that_are_missing_or_empty_are_named() {
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let dir = folder();
        std::fs::write(dir.path().join(name), "").unwrap();
        let error = load(dir.path()).map(|model| model.policy.report()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }

    // A part without its index, and an index without its part.
    let dir = folder();
    let (whole, part) = ("model.safetensors", "model-00001-of-00002.safetensors");
    std::fs::rename(dir.path().join(whole), dir.path().join(part)).unwrap();
    check_refused(dir.path(), &["model.safetensors.index.json", "get that file"]);
    let index = json!({"weight_map": {"model.embed_tokens.weight": part, "model.norm.weight": "model-00002-of-00002.safetensors"}});
    write_json(dir.path(), "model.safetensors.index.json", &index);
    let error = Inspection::new(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("00002-of-00002") && error.contains("1 of 2 files"), "{error}");

    // Weights of another layout.
    let dir = folder();
    std::fs::rename(dir.path().join(whole), dir.path().join("consolidated.safetensors")).unwrap();
    check_refused(dir.path(), &["consolidated.safetensors"]);
    std::fs::remove_file(dir.path().join("consolidated.safetensors")).unwrap();
    check_refused(dir.path(), &["holds no weights"]);

    // The folder above several models.
    let above = tempfile::tempdir().unwrap();
    for name in ["checkpoint-10", "checkpoint-20"] {
        std::fs::create_dir(above.path().join(name)).unwrap();
        write_json(&above.path().join(name), "config.json", &json!({}));
    }
    check_refused(above.path(), &["holds no model", "`checkpoint-10`, `checkpoint-20`"]);

    // A head that nobody stored.
    let dir = folder();
    change(dir.path(), "tie_word_embeddings", json!(false));
    check_refused(dir.path(), &["tie_word_embeddings", "lm_head.weight", "set it to true"]);
}

#[test]
fn inspection_finds_what_loading_refuses() {
    let dir = folder();
    let inspect = || Inspection::new(dir.path(), None).and_then(|found| found.check_values());
    inspect().unwrap();
    let embedding = load(dir.path()).unwrap().policy.parameters().remove(0).tensor.detach();
    add_tensors(dir.path(), &[("lm_head.weight", &embedding + 1e-3)]);
    let error = inspect().unwrap_err().to_string();
    assert!(error.contains("tie_word_embeddings"), "{error}");
    let damaged = embedding.copy();
    let _ = damaged.get(0).fill_(f64::NAN);
    add_tensors(
        dir.path(),
        &[("lm_head.weight", embedding), ("model.embed_tokens.weight", damaged)],
    );
    let error = inspect().unwrap_err().to_string();
    assert!(error.contains("model.embed_tokens.weight") && error.contains("NaN"), "{error}");
}

#[test]
fn a_cache_folder_stands_for_its_snapshot() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(cache.path().join("refs")).unwrap();
    std::fs::write(cache.path().join("refs/main"), "abc").unwrap();
    random_model(&config(), 1).save(&snapshot).unwrap();
    write_json(&snapshot, "tokenizer.json", &tokenizer_json(|_| {}));
    assert_eq!(load(cache.path()).unwrap().policy.source(), Some(snapshot.as_path()));
    // Of a revision that is no branch, the cache has the snapshot alone.
    std::fs::remove_dir_all(cache.path().join("refs")).unwrap();
    assert_eq!(load(cache.path()).unwrap().policy.source(), Some(snapshot.as_path()));
    // Of several, none is the one.
    std::fs::create_dir_all(cache.path().join("snapshots/def")).unwrap();
    std::fs::copy(snapshot.join("config.json"), cache.path().join("snapshots/def/config.json"))
        .unwrap();
    check_refused(cache.path(), &["several snapshots", "`abc`, `def`", "refs/main"]);
}
