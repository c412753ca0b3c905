//! Batches that are sampled ahead of the learner.
//!
//! A second thread owns the collector and carries out orders, first in, first out. The learner gives them at the same
//! places of its program in every run, so timing changes no number. Batch `n` comes from the weights after step
//! `n − 1 − run.ahead`. A session that starts later than that has only its first weights. What the collector remembers,
//! such as the success of problems, follows from the batches before `n`, whether they have trained or not.
//!
//! Each of several processes has such a thread. All of them get the same orders, and exchange their parts over a group of
//! their own. A thread that fails tells the others, whose learners may wait for its batch.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use hint_policy::SharedPolicy;
use hint_rollout::data::{ProblemSet, Problems};
use hint_rollout::engine::Peers;
use hint_rollout::evaluate::{Evaluation, EvaluationOptions};
use hint_rollout::run::RunProgress;
use hint_rollout::{Collector, PolicyVersion};
use serde_json::Value;
use tch::Device;

use super::collected::{CollectedStep, Ready, collect};
use crate::config::RunConfig;
use crate::error::GrpoError;
use crate::weights::{ForeignWeights, NewWeights, SharedWeights};

/// Work for the sampler.
enum Order {
    /// Later orders sample from these weights.
    Weights(NewWeights),
    /// The same where another process has the copy of them.
    Version(PolicyVersion),
    /// The batch of the step after this progress.
    Collect(RunProgress),
    /// An evaluation after a step.
    Evaluate(u64, ProblemSet, Box<EvaluationOptions>),
}

/// What comes back.
enum Made {
    Batch(Ready, CollectorState),
    Evaluated(u64, Box<Evaluation>),
    /// The last but one.
    Failed(GrpoError),
    /// The last.
    Home(Box<Collector>),
}

/// [`Collector::state`] after a batch.
pub(super) type CollectorState = Arc<dyn Fn() -> Value + Send + Sync>;

/// The thread that samples.
struct Sampler {
    orders: Sender<Order>,
    made: Receiver<Made>,
    /// Tells it to leave further orders alone.
    is_over: Arc<AtomicBool>,
    /// Batches and evaluations that were ordered and have not come back.
    batches: usize,
    evaluations: usize,
}

/// The trained policy, and the copy of it that the sampler has. No copy where another process samples for this one.
#[derive(Debug)]
struct Copies {
    trained: SharedPolicy,
    sampled: Option<SharedPolicy>,
    /// Of the copy, which is locked while it samples.
    device: Device,
}

/// Batches between the sampler and the learner.
#[derive(Default)]
pub(super) struct Ahead {
    copies: Option<Copies>,
    /// The processes whose samplers collect every batch together.
    peers: Option<Arc<dyn Peers>>,
    sampler: Option<Sampler>,
    /// Batches that have not trained yet, in order.
    queue: VecDeque<Ready>,
    /// The batch of the present step.
    taken: Option<Ready>,
    /// The step that trains next.
    next: u64,
    /// The last step whose batch was ordered.
    ordered: u64,
    /// The weights that the sampler lacks.
    unsent: Option<PolicyVersion>,
    /// The collector's state after the last batch that came back.
    state: Option<CollectorState>,
    /// Evaluations that came back.
    evaluations: Vec<(u64, Evaluation)>,
    /// The reason why the sampler ended, until a step ends with it.
    failure: Option<GrpoError>,
    /// The collector of a sampler that has ended.
    home: Option<Box<Collector>>,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").field("queue", &self.queue.len()).finish_non_exhaustive()
    }
}

/// Shared with snapshots, which wait for the sampler if they are used.
pub(super) type SharedAhead = Arc<Mutex<Ahead>>;

pub(super) fn lock(ahead: &SharedAhead) -> MutexGuard<'_, Ahead> {
    ahead.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ahead {
    /// Samples from `sampled`, a copy of `trained`.
    pub(super) fn set_copies(&mut self, trained: &SharedPolicy, sampled: Option<SharedPolicy>) {
        let device = sampled.as_ref().map_or(Device::Cpu, |sampled| sampled.lock().device());
        self.copies = Some(Copies { trained: trained.clone(), sampled, device });
    }

    /// Collects every batch together with other processes.
    pub(super) fn share_with(&mut self, peers: Arc<dyn Peers>) {
        self.peers = Some(peers);
    }

    /// Whether a thread samples.
    pub(super) const fn is_running(&self) -> bool {
        self.sampler.is_some()
    }

    /// Starts the thread, if the run samples ahead. The collector is with it then.
    pub(super) fn start<'scope, 'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        collector: &mut Option<Collector>,
        problems: &'env dyn Problems,
        run: RunConfig,
    ) {
        let Some(copy) = self.copies.as_ref().map(|copies| copies.sampled.clone()) else { return };
        let Some(collector) = collector.take() else { return };
        let ((orders, received), (sender, made)) = (channel(), channel());
        let is_over = Arc::new(AtomicBool::new(false));
        self.state = Some(Arc::new(collector.snapshot()));
        let peers = self.peers.clone();
        let thread = Thread { collector, copy, peers, made: sender, is_over: Arc::clone(&is_over) };
        scope.spawn(move || thread.run(&received, problems, &run));
        self.sampler = Some(Sampler { orders, made, is_over, batches: 0, evaluations: 0 });
    }

    /// Ends the thread after the work in hand, and brings the collector home. Batches that came back wait for the next
    /// call of the run. Returns the failure of the thread, if no step has ended with it.
    pub(super) fn stop(&mut self, home: &mut Option<Collector>) -> Option<GrpoError> {
        let Sampler { orders, made, is_over, .. } = self.sampler.take()?;
        // Other processes may be at an earlier order, and need this one for all that were given. After an error their
        // group has failed, and the work in hand with it.
        let is_shared = self.peers.as_ref().is_some_and(|peers| peers.world_size() > 1);
        is_over.store(!is_shared, Ordering::Release);
        drop(orders);
        for made in made {
            self.put(made);
        }
        *home = self.home.take().map(|collector| *collector);
        self.ordered = self.queue.back().map_or(0, |last| last.step);
        self.failure.take()
    }

    /// Records that the policy has new weights. The sampler gets them with its next order.
    pub(super) const fn set_version(&mut self, version: PolicyVersion) {
        self.unsent = Some(version);
    }

    fn send(&mut self, order: Order) {
        if let Some(sampler) = &self.sampler {
            // A sampler that ended has left the reason.
            let _ = sampler.orders.send(order);
        }
    }

    /// Gives the sampler the weights that it lacks.
    fn send_weights(&mut self) -> Result<(), GrpoError> {
        if let (Some(version), Some(copies)) = (self.unsent, &self.copies) {
            let order = if copies.sampled.is_some() {
                Order::Weights(NewWeights::of(&copies.trained, copies.device, version)?)
            } else {
                Order::Version(version)
            };
            self.send(order);
            self.unsent = None;
        }
        Ok(())
    }

    /// Orders what is missing up to `run.ahead` batches beyond `step`, and waits for its batch.
    pub(super) fn next(&mut self, step: u64, run: &RunConfig) -> Result<CollectedStep, GrpoError> {
        if let Some(taken) = self.taken.take().filter(|taken| taken.step == step) {
            // Its step failed in an earlier call of the run.
            self.queue.push_front(taken);
        }
        let last = step.saturating_add(run.ahead).min(run.steps);
        let first = self.ordered.max(step - 1) + 1;
        for step in first..=last {
            self.send_weights()?;
            self.send(Order::Collect(run.progress(step - 1)));
            if let Some(sampler) = &mut self.sampler {
                sampler.batches += 1;
            }
            self.ordered = step;
        }
        while self.queue.is_empty() {
            self.receive()?;
        }
        self.pop(step).ok_or_else(|| {
            GrpoError::other("the sampler", format!("the batch of step {step} is missing"))
        })
    }

    /// The batch of a step, if it is the first that waits.
    pub(super) fn pop(&mut self, step: u64) -> Option<CollectedStep> {
        let ready = self.queue.pop_front_if(|ready| ready.step == step)?;
        self.next = step + 1;
        self.taken = self.is_running().then(|| ready.clone());
        Some(Arc::unwrap_or_clone(ready.batch))
    }

    /// Orders an evaluation after `step`, from the present weights.
    pub(super) fn evaluate(
        &mut self,
        step: u64,
        problems: &ProblemSet,
        options: EvaluationOptions,
    ) -> Result<(), GrpoError> {
        self.send_weights()?;
        self.send(Order::Evaluate(step, problems.clone(), Box::new(options)));
        if let Some(sampler) = &mut self.sampler {
            sampler.evaluations += 1;
        }
        Ok(())
    }

    /// The evaluations that came back, each with its step. All that were ordered if it is to `wait` for them.
    pub(super) fn evaluations(&mut self, wait: bool) -> Result<Vec<(u64, Evaluation)>, GrpoError> {
        while wait && self.sampler.as_ref().is_some_and(|sampler| sampler.evaluations > 0) {
            self.receive()?;
        }
        Ok(std::mem::take(&mut self.evaluations))
    }

    /// Waits for all that was ordered, and returns the collector's state behind it, and the batches that train from
    /// step `next` on. After a failure these are the ones before it.
    pub(super) fn drain(&mut self, next: u64) -> (Option<CollectorState>, Vec<Ready>) {
        while self.sampler.as_ref().is_some_and(|one| one.batches + one.evaluations > 0) {
            if !self.wait() {
                // The step that needs the missing batch ends with the failure.
                break;
            }
        }
        (self.state.clone(), self.waiting(next))
    }

    /// The batches that train from step `next` on, as far as they came back.
    pub(super) fn waiting(&self, next: u64) -> Vec<Ready> {
        let all = self.taken.iter().chain(&self.queue);
        all.filter(|ready| ready.step >= next).cloned().collect()
    }

    /// The step that trains next.
    pub(super) const fn next_step(&self) -> u64 {
        self.next
    }

    /// Takes up the batches of a checkpoint after `step` steps.
    pub(super) fn load(&mut self, batches: Vec<Ready>, step: u64) -> Result<(), GrpoError> {
        let expected = step + 1..=step + batches.len() as u64;
        if !batches.iter().map(|ready| ready.step).eq(expected) {
            let found = batches.iter().map(|ready| ready.step).collect::<Vec<_>>();
            let problem = format!("after step {step} there are batches of the steps {found:?}");
            return Err(GrpoError::other("ahead.cbor", problem));
        }
        self.queue = batches.into();
        self.ordered = self.queue.back().map_or(0, |last| last.step);
        self.next = step + 1;
        Ok(())
    }

    /// Waits for the next thing that the sampler makes. Whether it made one; not if it has ended.
    fn wait(&mut self) -> bool {
        let made = self.sampler.as_ref().and_then(|sampler| sampler.made.recv().ok());
        let is_work = matches!(made, Some(Made::Batch(..) | Made::Evaluated(..)));
        if let Some(made) = made {
            self.put(made);
        }
        is_work
    }

    /// Waits for the next thing that the sampler makes.
    fn receive(&mut self) -> Result<(), GrpoError> {
        if self.wait() {
            return Ok(());
        }
        let ended = || GrpoError::other("the sampler", "its thread has ended");
        Err(self.failure.take().unwrap_or_else(ended))
    }

    fn put(&mut self, made: Made) {
        match made {
            Made::Batch(ready, state) => {
                self.queue.push_back(ready);
                self.state = Some(state);
                if let Some(sampler) = &mut self.sampler {
                    sampler.batches -= 1;
                }
            }
            Made::Evaluated(step, evaluation) => {
                self.evaluations.push((step, *evaluation));
                if let Some(sampler) = &mut self.sampler {
                    sampler.evaluations -= 1;
                }
            }
            Made::Failed(error) => self.failure = Some(error),
            Made::Home(collector) => self.home = Some(collector),
        }
    }
}

/// The sampler's side.
struct Thread {
    collector: Collector,
    copy: Option<SharedPolicy>,
    peers: Option<Arc<dyn Peers>>,
    made: Sender<Made>,
    is_over: Arc<AtomicBool>,
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>, problems: &dyn Problems, run: &RunConfig) {
        for order in orders {
            if self.is_over.load(Ordering::Acquire) {
                break;
            }
            let made = catch_unwind(AssertUnwindSafe(|| self.carry_out(order, problems, run)));
            let made = made.unwrap_or_else(|panic| Err(GrpoError::panicked(&*panic)));
            let has_failed = made.is_err();
            if let (Err(error), Some(peers)) = (&made, &self.peers) {
                peers.abort(&error.chain());
            }
            if let Some(made) = made.unwrap_or_else(|error| Some(Made::Failed(error))) {
                // The learner receives until the end.
                let _ = self.made.send(made);
            }
            if has_failed {
                break;
            }
        }
        let _ = self.made.send(Made::Home(Box::new(self.collector)));
    }

    fn carry_out(
        &mut self,
        order: Order,
        problems: &dyn Problems,
        run: &RunConfig,
    ) -> Result<Option<Made>, GrpoError> {
        match order {
            Order::Weights(weights) => {
                if let Some(copy) = &self.copy {
                    let version = weights.load(copy);
                    self.collector.sync(&SharedWeights { policy: copy, version })?;
                }
                Ok(None)
            }
            Order::Version(version) => {
                self.collector.sync(&ForeignWeights(version))?;
                Ok(None)
            }
            Order::Collect(progress) => {
                let batch = Arc::new(collect(&mut self.collector, problems, run, progress)?);
                let ready = Ready { step: progress.step + 1, batch };
                Ok(Some(Made::Batch(ready, Arc::new(self.collector.snapshot()))))
            }
            Order::Evaluate(step, problems, options) => {
                let evaluation = self.collector.evaluate(&problems, &options)?;
                Ok(Some(Made::Evaluated(step, Box::new(evaluation))))
            }
        }
    }
}
