//! One cache of answers, and processes that are killed or work side by side.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hint_rollout::hint::source::teacher::{TeacherHints, TeacherOptions};
use hint_rollout::{HintProvider, HintRequest, Seed};
use serde_json::Value;

use super::{Answer, Chat, NoWriter, files, problems};

const PROBLEMS: usize = 40;
const PARALLEL: usize = 3;
const KILLS: usize = 12;

/// Tells a process that it was started by a test below: endpoint, cache, where to write what it got,
/// and the order of the problems.
const CHILD: &str = "HINT_ROLLOUT_CACHE_CHILD";

/// Where an answer ends.
const END: &str = "(end)";

/// Answers that all differ, and are so long that writing one takes a while.
fn long_winded() -> Chat {
    Chat::start(|number, _| Answer::Says(format!("{number} {} {END}", "so ".repeat(100_000))))
}

fn teacher(address: &str, cache: &Path) -> TeacherHints {
    let mut options = TeacherOptions::new(address, "big-model");
    options.cache = Some(cache.to_path_buf());
    options.parallel = PARALLEL;
    TeacherHints::new(options, None).expect("the options are valid")
}

/// What the teacher says about each problem, in the order of the problems.
fn ask(teacher: &TeacherHints, backwards: bool) -> Vec<String> {
    let problems = problems(PROBLEMS);
    let mut requests = problems.iter().map(HintRequest::new).collect::<Vec<_>>();
    if backwards {
        requests.reverse();
    }
    let hints = teacher.hints(&requests, &mut NoWriter).expect("the server answers");
    let mut texts = hints.into_iter().map(|hint| hint.expect("an answer").text).collect::<Vec<_>>();
    if backwards {
        texts.reverse();
    }
    texts
}

/// Does what a child is for, if this process is one.
fn is_child() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
    let Ok(orders) = std::env::var(CHILD) else { return false };
    let [address, cache, out, order] = orders.split('|').collect::<Vec<_>>()[..] else {
        panic!("four parts, not `{orders}`");
    };
    let texts = ask(&teacher(address, Path::new(cache)), order == "backwards");
    std::fs::write(out, serde_json::to_vec(&texts).expect("texts")).expect("a writable folder");
    true
}

/// Starts this program again, for the test `name` alone.
fn start(name: &str, chat: &Chat, cache: &Path, out: &Path, order: &str) -> Child {
    let orders = format!("{}|{}|{}|{order}", chat.address, cache.display(), out.display());
    Command::new(std::env::current_exe().expect("tests are files"))
        .args(["--exact", &format!("teacher::processes::{name}")])
        .env(CHILD, orders)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test can start itself")
}

/// The answers in the cache; each must be whole.
fn answers(cache: &Path) -> usize {
    let named = files(cache).into_iter().filter(|file| file.extension() == Some("json".as_ref()));
    let mut count = 0;
    for file in named {
        let bytes = std::fs::read(&file).expect("a readable file");
        let entry: Value = serde_json::from_slice(&bytes).expect("a whole entry");
        assert!(
            entry["hint"].as_str().is_some_and(|hint| hint.ends_with(END)),
            "{}",
            file.display()
        );
        count += 1;
    }
    count
}

#[test]
fn a_cache_survives_processes_that_are_killed_while_they_write() {
    if is_child() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    std::fs::create_dir(&cache).expect("a writable folder");
    let chat = long_winded();
    let name = "a_cache_survives_processes_that_are_killed_while_they_write";
    let mut alive = 0;
    for kill in 0..KILLS {
        let before = chat.asked();
        let mut child = start(name, &chat, &cache, &out, "forwards");
        // From the first question on, at another moment each time.
        let ended = loop {
            if child.try_wait().expect("a child can be asked").is_some() {
                break true;
            }
            if chat.asked() > before {
                break false;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        let fraction = Seed::new(kill as u64).value() as f64 / u64::MAX as f64;
        std::thread::sleep(Duration::from_millis(25).mul_f64(fraction));
        alive += u64::from(!ended);
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be awaited");
        answers(&cache);
    }
    assert!(alive > 0, "no child was killed while it asked");
    let kept = answers(&cache);
    let lost = chat.asked().saturating_sub(kept);
    assert!(lost <= PARALLEL * KILLS, "{lost} answers are lost");

    // Another server, because the first one may still be reading what a killed process sent.
    let fresh = long_winded();
    let texts = ask(&teacher(&fresh.address, &cache), false);
    assert!(texts.iter().all(|text| text.ends_with(END)));
    assert_eq!(fresh.asked(), PROBLEMS - kept, "what is kept is not asked again");
    assert!(ask(&teacher(&fresh.address, &cache), false) == texts);
    assert_eq!(fresh.asked(), PROBLEMS - kept);
}

#[test]
fn two_processes_share_a_cache_and_agree() {
    if is_child() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let chat = long_winded();
    let name = "two_processes_share_a_cache_and_agree";
    // They meet somewhere: what the other one has asked by then is in the cache.
    let children = ["forwards", "backwards"].map(|order| {
        let out = folder.path().join(order);
        (start(name, &chat, &cache, &out, order), out)
    });
    let [first, second] = children.map(|(mut child, out)| {
        assert!(child.wait().expect("a child can be awaited").success());
        let bytes = std::fs::read(out).expect("the child wrote it");
        serde_json::from_slice::<Vec<String>>(&bytes).expect("texts")
    });
    assert!(first == second, "the first answer to a question is everybody's");
    assert_eq!(answers(&cache), PROBLEMS);
    // Each may have asked what the other one was just asking.
    let asked = chat.asked();
    assert!(asked <= PROBLEMS + 2 * PARALLEL, "{asked} questions for {PROBLEMS} problems");
}
