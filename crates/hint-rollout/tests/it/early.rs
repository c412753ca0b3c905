//! Judging of groups while the engine samples others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use hint_reward::{ExactMatch, Reward, RewardError, RewardInput, Rubric, from_fn};
use hint_rollout::collect::Collected;
use hint_rollout::engine::{GenerationWatch, Peers};
use hint_rollout::sample::ScoringConfig;
use hint_rollout::{
    Collector, CollectorConfig, Completion, GenerationRequest, Hint, Problem, PromptFormat,
    RolloutEngine, RolloutError, RolloutGroup, Sampling, Seed,
};

use crate::scripted::{Bytes, Process, Scripted, Watched, text};

/// A scripted engine, of whose completions `tell` tells as it likes after they are written.
fn telling<F>(mut tell: F) -> impl RolloutEngine + 'static
where
    F: FnMut(
            &[GenerationRequest],
            &[Vec<Completion>],
            &dyn GenerationWatch,
        ) -> Result<(), RolloutError>
        + Send
        + 'static,
{
    let (mut inner, _) = Scripted::new(answer);
    Watched::new(move |requests, watch| {
        let sampled = inner.generate(requests)?;
        tell(requests, &sampled, watch)?;
        Ok(sampled)
    })
}

/// The last group first, and of each the last completion first.
fn tell_backwards(sampled: &[Vec<Completion>], watch: &dyn GenerationWatch) {
    for (request, group) in sampled.iter().enumerate().rev() {
        for (index, completion) in group.iter().enumerate().rev() {
            watch.on_completion(request, index, completion);
        }
    }
}

fn backwards() -> impl RolloutEngine + 'static {
    telling(|_, sampled, watch| {
        tell_backwards(sampled, watch);
        Ok(())
    })
}

fn answer(prompt: &str, index: usize) -> String {
    format!("{prompt} \\boxed{{{index}}}. The end.")
}

fn config() -> CollectorConfig {
    let scoring = ScoringConfig { threads: 1, ..ScoringConfig::default() };
    CollectorConfig { group_size: 4, scoring, ..CollectorConfig::default() }
}

fn problems(count: usize) -> Vec<Problem> {
    (0..count).map(|index| Problem::new(format!("p{index}"), format!("q{index}"), "1")).collect()
}

fn collect(
    engine: impl RolloutEngine + 'static,
    format: impl PromptFormat + 'static,
    rubric: Rubric,
    config: CollectorConfig,
    count: usize,
) -> Result<Collected, RolloutError> {
    let mut collector = Collector::new(engine, format, rubric, config)?;
    let problems = problems(count);
    collector.collect(&problems.iter().collect::<Vec<_>>(), Seed::new(1))
}

/// An engine that tells of nothing, and one that tells of all, last first.
fn both(
    rubric: impl Fn() -> Rubric,
    config: &CollectorConfig,
    count: usize,
) -> [Result<Collected, RolloutError>; 2] {
    let (silent, _) = Scripted::new(answer);
    let silent = collect(silent, Bytes::default(), rubric(), config.clone(), count);
    [silent, collect(backwards(), Bytes::default(), rubric(), config.clone(), count)]
}

/// Fails, panics, or is no number, for one completion of four each.
fn faulty() -> Rubric {
    let faulty = |input: &RewardInput<'_>| {
        assert!(!input.completion.contains("{3}"), "three is not for me");
        if input.completion.contains("{2}") { f64::NAN } else { 0.25 }
    };
    Rubric::new(ExactMatch::new()).with(1.0, from_fn("faulty", faulty))
}

#[test]
fn what_ends_early_is_judged_as_what_ends_late() {
    for threads in [1, 3] {
        for stop in [Vec::new(), vec![". The".to_owned()]] {
            let scoring = ScoringConfig { threads, ..ScoringConfig::default() };
            let sampling = Sampling { stop, ..Sampling::default() };
            let mut config = CollectorConfig { scoring, sampling, ..config() };
            config.verdicts.max_dropped_frac = 1.0;
            let [late, early] = both(faulty, &config, 5).map(|found| found.expect("it goes on"));
            assert_eq!(late.stats.judged.dropped, 10);
            assert_eq!((late.groups, late.stats), (early.groups, early.stats));
        }
    }
}

#[test]
fn an_error_names_the_same_problem_whatever_ends_first() {
    let nan = || Rubric::new(ExactMatch::new()).with(1.0, from_fn("nan", |_| f64::NAN));
    let [late, early] = both(nan, &config(), 100).map(|found| {
        let error = found.expect_err("every completion fails");
        assert!(matches!(&error, RolloutError::TooManyFailures { .. }), "{error}");
        error.to_string()
    });
    assert_eq!(late, early);
    let slow = || {
        let hangs = |input: &RewardInput<'_>| {
            if input.problem_id == "p2" {
                std::thread::sleep(Duration::from_mins(1));
            }
            0.0
        };
        Rubric::new(ExactMatch::new()).with(1.0, from_fn("hangs", hangs))
    };
    let scoring = ScoringConfig { threads: 3, deadline_s: 1.0 };
    let config = CollectorConfig { scoring, ..config() };
    let [late, early] = both(slow, &config, 4).map(|found| found.expect("it goes on"));
    assert_eq!(late.stats.judged.verdicts["timeout"], 4);
    assert_eq!((late.groups, late.stats), (early.groups, early.stats));
}

#[test]
fn a_reward_that_is_late_beside_the_engine_is_asked_again() {
    let (sender, seen) = channel();
    let calls = AtomicUsize::new(0);
    let late = move |_: &RewardInput<'_>| {
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = sender.send(());
            std::thread::sleep(Duration::from_mins(1));
        }
        0.0
    };
    let engine = telling(move |_, sampled, watch| {
        for (index, completion) in sampled[0].iter().enumerate() {
            watch.on_completion(0, index, completion);
        }
        seen.recv_timeout(Duration::from_mins(1))
            .map_err(|error| RolloutError::other("no reward", error))
    });
    let rubric = Rubric::new(ExactMatch::new()).with(1.0, Grouped(from_fn("late", late)));
    let scoring = ScoringConfig { threads: 1, deadline_s: 1.0 };
    let config = CollectorConfig { scoring, ..config() };
    let found = collect(engine, Bytes::default(), rubric, config, 3);
    let judged = found.expect("it goes on").stats.judged;
    assert_eq!((judged.dropped, judged.verdicts.contains_key("timeout")), (0, false));
    assert!(judged.reward_failures.is_empty(), "{:?}", judged.reward_failures);
}

/// Compares the completions of a group, so none is scored by itself.
struct Grouped<R>(R);

impl<R: Reward> Reward for Grouped<R> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        self.0.score(input)
    }
}

#[test]
fn a_judge_that_is_down_is_asked_for_one_group_while_the_engine_samples() {
    let (sender, seen) = channel();
    let down = move |input: &RewardInput<'_>| {
        drop(sender.send(input.problem_id.to_owned()));
        f64::NAN
    };
    let engine = telling(move |_, sampled, watch| {
        for (request, group) in sampled.iter().enumerate() {
            for (index, completion) in group.iter().enumerate() {
                watch.on_completion(request, index, completion);
            }
        }
        let first = seen.recv_timeout(Duration::from_mins(1));
        assert_eq!(first.as_deref(), Ok("p0"));
        while let Ok(id) = seen.recv_timeout(Duration::from_millis(300)) {
            assert_eq!(id, "p0", "another group");
        }
        Ok(())
    });
    let rubric = Rubric::new(ExactMatch::new()).with(1.0, from_fn("down", down));
    let mut config = config();
    config.verdicts.max_dropped_frac = 1.0;
    let found = collect(engine, Bytes::default(), rubric, config, 4);
    assert_eq!(found.expect("it goes on").stats.judged.dropped, 16);
}

/// Notes the problem of each group.
struct Noting {
    seen: Sender<String>,
    calls: Arc<AtomicUsize>,
}

impl Reward for Noting {
    fn name(&self) -> &'static str {
        "noting"
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        if self.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(4) {
            drop(self.seen.send(input.problem_id.to_owned()));
        }
        Ok(0.0)
    }
}

fn noting() -> (Rubric, Receiver<String>, Arc<AtomicUsize>) {
    let (sender, seen) = channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let noting = Noting { seen: sender, calls: Arc::clone(&calls) };
    (Rubric::new(ExactMatch::new()).with(1.0, noting), seen, calls)
}

/// An engine that does not go on before the rewards of a group are there.
fn waiting(seen: Receiver<String>) -> impl RolloutEngine + 'static {
    telling(move |requests, sampled, watch| {
        for (place, (request, group)) in requests.iter().zip(sampled).enumerate() {
            for (index, completion) in group.iter().enumerate() {
                watch.on_completion(place, index, completion);
            }
            let id = seen.recv_timeout(Duration::from_mins(1));
            let id = id.map_err(|error| RolloutError::other("no reward", error))?;
            assert_eq!(text(&request.prompt), id.replace('p', "q"), "another group");
        }
        Ok(())
    })
}

#[test]
fn rewards_are_scored_while_the_engine_samples() {
    let (rubric, seen, calls) = noting();
    let found = collect(waiting(seen), Bytes::default(), rubric, config(), 5);
    assert_eq!(found.expect("the rewards come in time").groups.len(), 5);
    assert_eq!(calls.load(Ordering::SeqCst), 20, "each once");
}

#[test]
fn rewards_are_scored_while_virtual_workers_sample() {
    let (rubric, seen, calls) = noting();
    let engine = waiting(seen);
    let mut collector =
        Collector::new(engine, Bytes::default(), rubric, config()).expect("a valid configuration");
    collector.share_with(Arc::new(Process(1)));
    let problems = problems(7);
    let found = collector.collect(&problems.iter().collect::<Vec<_>>(), Seed::new(1));
    let found = found.expect("the rewards come in time");
    let ids = found.groups.iter().map(|group| group.problem_id.as_str()).collect::<Vec<_>>();
    assert_eq!(ids, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
    assert_eq!(calls.load(Ordering::SeqCst), 28, "each once");
}

/// One of two processes, which are threads here.
struct Member {
    rank: usize,
    brought: Arc<Mutex<[Vec<u8>; 2]>>,
    barrier: Arc<Barrier>,
}

impl Peers for Member {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        2
    }

    fn num_virtual_workers(&self) -> usize {
        2
    }

    fn all_gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError> {
        self.brought.lock().expect("no panic")[self.rank] = bytes;
        self.barrier.wait();
        let all = self.brought.lock().expect("no panic").to_vec();
        self.barrier.wait();
        Ok(all)
    }
}

#[test]
fn each_process_judges_its_part_while_it_samples() {
    let (brought, barrier) = (Arc::default(), Arc::new(Barrier::new(2)));
    let members = [0, 1].map(|rank| Member {
        rank,
        brought: Arc::clone(&brought),
        barrier: Arc::clone(&barrier),
    });
    let work = |member: Member| {
        let (rubric, seen, calls) = noting();
        let mut collector = Collector::new(waiting(seen), Bytes::default(), rubric, config())
            .expect("a valid configuration");
        collector.share_with(Arc::new(member));
        let problems = problems(5);
        let found = collector.collect(&problems.iter().collect::<Vec<_>>(), Seed::new(1));
        let groups = found.expect("the rewards come in time").groups;
        (groups, calls.load(Ordering::SeqCst))
    };
    let [(first, by_first), (second, by_second)] = std::thread::scope(|scope| {
        let threads = members.map(|member| scope.spawn(move || work(member)));
        threads.map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(first, second);
    assert_eq!((first.len(), by_first, by_second), (5, 12, 8), "each once");
}

#[test]
fn what_an_engine_returns_counts_and_not_what_it_told() {
    let engine = telling(|_, sampled, watch| {
        for (request, group) in sampled.iter().enumerate() {
            for index in 0..group.len() {
                // Always the second one, which is right, and some that nobody asked for.
                watch.on_completion(request, index, &group[1]);
                watch.on_completion(request, index + 4, &group[1]);
                watch.on_completion(request + 9, index, &group[1]);
            }
        }
        Ok(())
    });
    let rubric = Rubric::new(ExactMatch::new());
    let found = collect(engine, Bytes::default(), rubric, config(), 3);
    let found = found.expect("it goes on");
    let correct = found.groups.iter().map(RolloutGroup::num_correct);
    assert_eq!(correct.collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn an_error_or_a_panic_ends_the_call() {
    let down = || RolloutError::other("the engine", "it is down");
    let engine = telling(move |_, sampled, watch| {
        tell_backwards(sampled, watch);
        Err(down())
    });
    let error = collect(engine, Bytes::default(), faulty(), config(), 3);
    assert_eq!(error.expect_err("of the engine").to_string(), down().to_string());

    let engine = telling(|_, _, _| panic!("the engine panics"));
    let work = || collect(engine, Bytes::default(), faulty(), config(), 3).map(|_| ());
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("that of the engine");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the engine panics"));

    let work = || collect(backwards(), Unreadable, faulty(), config(), 3).map(|_| ());
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("that of the format");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"no text"));
}

/// Panics where it reads a completion.
struct Unreadable;

impl PromptFormat for Unreadable {
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        Bytes::default().encode(problem, hint)
    }

    fn decode(&self, _completion: &[u32]) -> Result<String, RolloutError> {
        panic!("no text")
    }

    fn stop_tokens(&self) -> &[u32] {
        &[]
    }
}
