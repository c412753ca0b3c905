//! Problems on disk: the same as in memory.

use std::collections::BTreeSet;

use hint_rollout::data::{DataConfig, DataFile, HeldOut, ProblemSet, ProblemSetBuilder, Problems};
use hint_rollout::{Problem, RolloutError};
use serde_json::json;

/// Rows with everything that a problem can have, some of them twice.
fn rows() -> String {
    let row = |number: usize| {
        let (asked, level) = (number % 90, number % 4);
        let row = json!({
            "id": number,
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": format!("{asked} + 1?")}],
            "answer": [asked + 1, format!("{}.0", asked + 1)],
            "hint": if level == 0 { "" } else { "Count on." },
            "solution": format!("\\boxed{{{}}} ü", asked + 1),
            "level": level,
            "extra": {"share": 0.1 + number as f64, "list": [null, true, 1e300]},
        });
        format!("{row}\n")
    };
    (0..100).map(row).collect()
}

fn read(memory_mib: u64) -> (ProblemSet, usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut files = Vec::new();
    for (name, weight) in [("a", 1.0), ("b", 2.0)] {
        let path = folder.path().join(format!("{name}.jsonl"));
        std::fs::write(&path, rows()).expect("the file is written");
        files.push(DataFile { weight: Some(weight), ..DataFile::new(path) });
    }
    let spill_dir = Some(folder.path().to_path_buf());
    let config =
        DataConfig { files, memory_mib, spill_dir, deduplicate: true, ..DataConfig::default() };
    let read = config.read().expect("both files can be read");
    let names = std::fs::read_dir(folder.path()).expect("the folder is there").count();
    assert_eq!(names, 2, "the file of the problems has no name");
    (read.problems, read.repeated)
}

#[test]
fn problems_on_disk_equal_those_in_memory() {
    let ((kept, repeated), (spilled, same)) = (read(1024), read(0));
    assert_eq!((kept.len(), repeated, same), (90, 110, 110));
    assert_eq!((kept.on_disk(), spilled.on_disk()), (0, 90));
    let all = kept.to_vec().unwrap();
    assert_eq!(all, spilled.to_vec().unwrap());
    assert_eq!(all[7].columns["extra"]["share"], 7.1);
    // In any order, and more than once.
    for index in [89, 0, 44, 44] {
        assert_eq!(*spilled.at(index).unwrap(), all[index]);
    }
    let ids = BTreeSet::from(["3", "88", "nothing"]);
    assert_eq!(Problems::find(&kept, &ids).unwrap(), [(3, "3"), (88, "88")]);
    assert_eq!(Problems::find(&spilled, &ids).unwrap(), [(3, "3"), (88, "88")]);
    for column in ["level", "dataset", "none"] {
        assert_eq!(kept.by_column(column).unwrap(), spilled.by_column(column).unwrap(), "{column}");
    }
    assert_eq!(
        kept.sample_by_hash(20).unwrap().to_vec().unwrap(),
        spilled.sample_by_hash(20).unwrap().to_vec().unwrap()
    );
    let split = |set: ProblemSet| {
        let split = HeldOut::Share { frac: 0.3 }.split(set, &DataConfig::default()).unwrap();
        (split.train.to_vec().unwrap(), split.held_out.to_vec().unwrap(), split.removed)
    };
    assert_eq!(split(kept.clone()), split(spilled.clone()));
    let odd = |problem: &Problem| Ok::<_, RolloutError>(problem.level.as_deref() == Some("1"));
    assert_eq!(
        kept.filter(odd).unwrap().to_vec().unwrap(),
        spilled.filter(odd).unwrap().to_vec().unwrap()
    );
}

#[test]
fn the_first_problems_stay_in_memory() {
    let mut builder = ProblemSetBuilder::new(4096, None);
    let all = (0..50).map(|id| Problem::new(id.to_string(), "1 + 1", "2")).collect::<Vec<_>>();
    all.iter().try_for_each(|problem| builder.push(problem.clone())).unwrap();
    let set = builder.finish().unwrap();
    assert!((1..50).contains(&set.on_disk()), "{}", set.on_disk());
    assert_eq!(set.to_vec().unwrap(), all);
    let part = set.filter(|problem| Ok::<_, RolloutError>(problem.id.len() == 2)).unwrap();
    assert_eq!(part.to_vec().unwrap(), all[10..]);
    assert_eq!(
        Problems::find(&part, &BTreeSet::from(["9", "10", "49"])).unwrap(),
        [(0, "10"), (39, "49")]
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_the_remedy() {
    let missing = std::path::Path::new("no/such/folder");
    let error = ProblemSetBuilder::new(0, Some(missing)).push(Problem::new("a", "?", "1"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`no/such/folder`") && error.contains("data.spill_dir"), "{error}");
}
