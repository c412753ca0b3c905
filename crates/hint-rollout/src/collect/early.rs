//! Groups that are judged while others are still sampled.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use hint_reward::Rubric;

use crate::collect::config::CollectorConfig;
use crate::collect::job::{SampleJob, answers};
use crate::data::Problem;
use crate::engine::{Completion, GenerationWatch};
use crate::error::RolloutError;
use crate::prompt::PromptFormat;
use crate::sample::{Answers, cut_at_stop};

/// The place of a job, and the completions of its group.
type Ended = (usize, Vec<Completion>);

/// Judges groups on threads of its own, as their last completions end.
///
/// No error comes from here. A group that cannot be judged, or not in time, is judged again with the others, in the order of
/// the jobs. So neither errors nor timeouts depend on the engine. After such a group, and after one of which each completion
/// failed, no other is begun. So a judge that is down is not asked for all of them.
pub(crate) struct EarlyJudge<'c> {
    pub(crate) jobs: &'c [SampleJob],
    pub(crate) problems: &'c [&'c Problem],
    pub(crate) format: &'c dyn PromptFormat,
    pub(crate) rubric: &'c Arc<Rubric>,
    pub(crate) config: &'c CollectorConfig,
    /// The number of this process, and how many processes there are. Each judges its part of the jobs.
    pub(crate) process: (usize, usize),
}

/// What was sampled, and the group of each job that was judged meanwhile.
type Sampled = (Vec<Vec<Completion>>, Vec<Option<EarlyGroup>>);

/// A group that was judged before the last one had ended.
pub(crate) struct EarlyGroup {
    /// Cut at stop texts.
    completions: Vec<Completion>,
    /// With their scores.
    answers: Arc<Answers>,
    /// How many first completions are the group, if it ended with them.
    kept: Option<usize>,
    /// Whether a completion has a score in time.
    is_working: bool,
}

impl EarlyGroup {
    /// Takes the completions of the request out that are not of the group, since it ended early.
    pub(crate) fn take_others(&self, completions: &mut Vec<Completion>) -> Vec<Completion> {
        let kept = self.kept.unwrap_or(completions.len());
        completions.split_off(kept.min(completions.len()))
    }

    /// The answers, if they are those of `completions`: an engine may return others than it told of.
    pub(crate) fn answers_of(self, completions: &[Completion]) -> Option<Arc<Answers>> {
        (self.completions == completions).then_some(self.answers)
    }
}

impl EarlyJudge<'_> {
    /// The completions that `sample` returns, and for each job its group if it was judged meanwhile. Returns when the
    /// threads have judged the groups that they had begun. An error of the engine waits for that as well, and so do peers: as
    /// long as `deadline_s` where a reward hangs.
    pub(crate) fn while_sampling(
        &self,
        sample: impl FnOnce(&dyn GenerationWatch) -> Result<Vec<Vec<Completion>>, RolloutError>,
    ) -> Result<Sampled, RolloutError> {
        let (sender, receiver) = channel();
        let (receiver, is_over) = (Mutex::new(receiver), AtomicBool::new(false));
        let growing = self.jobs.iter().enumerate().map(|(place, job)| {
            let count = if self.is_own(place) { job.request.num_completions } else { 0 };
            vec![None; count]
        });
        let growing = Mutex::new(growing.collect());
        let decided = Mutex::new(BTreeMap::new());
        let work = || self.work(&receiver, &is_over);
        let (sampled, judged) = std::thread::scope(|scope| {
            let threads = self.config.scoring.threads.min(self.jobs.len());
            let threads = (0..threads).map(|_| scope.spawn(work)).collect::<Vec<_>>();
            let watch =
                Watch { judge: self, growing, decided: &decided, ended: sender, is_over: &is_over };
            let sampled = sample(&watch);
            drop(watch);
            let judged = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            (sampled, judged.collect::<Vec<_>>())
        });
        let mut groups = self.jobs.iter().map(|_| None).collect::<Vec<_>>();
        let decided = decided.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (place, group) in judged.into_iter().chain(decided) {
            groups[place] = Some(group);
        }
        Ok((sampled?, groups))
    }

    /// Whether this process judges the job at `place`.
    const fn is_own(&self, place: usize) -> bool {
        let (rank, world_size) = self.process;
        place % world_size == rank
    }

    /// Judges groups until all of them have ended.
    fn work(
        &self,
        ended: &Mutex<Receiver<Ended>>,
        is_over: &AtomicBool,
    ) -> Vec<(usize, EarlyGroup)> {
        let mut judged = Vec::new();
        loop {
            let next = ended.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((place, completions)) = next else { return judged };
            // The others are judged in the order of the jobs, and not to the end after an error.
            if is_over.load(Ordering::Relaxed) {
                return judged;
            }
            let group = self.judge(place, completions);
            let is_working = group.as_ref().is_some_and(|group| group.is_working);
            if !is_working {
                is_over.store(true, Ordering::Relaxed);
            }
            judged.extend(group.map(|group| (place, group)));
        }
    }

    fn judge(&self, place: usize, mut completions: Vec<Completion>) -> Option<EarlyGroup> {
        for completion in &mut completions {
            cut_at_stop(self.format, &self.config.sampling, completion).ok()?;
        }
        let SampleJob { index, hint, .. } = &self.jobs[place];
        let problem = self.problems[*index];
        let answers = answers(self.format, problem, hint.as_ref(), &completions).ok()?;
        let is_working = answers.score_early(self.rubric, self.config.scoring);
        Some(EarlyGroup { completions, answers, kept: None, is_working })
    }

    /// The group of these first completions, if all have ended, and all are correct, or all are wrong. The others have no say,
    /// even if all have ended: short ones end first, and length would decide what trains.
    fn decide(&self, place: usize, first: &[Option<Completion>]) -> Option<EarlyGroup> {
        let completions = first.iter().cloned().collect::<Option<Vec<_>>>()?;
        let kept = Some(completions.len());
        let group = self.judge(place, completions)?;
        let agrees = group.answers.agree(&self.config.verdicts);
        agrees.then_some(EarlyGroup { kept, ..group })
    }
}

/// Gathers completions, and passes groups on when they are whole.
struct Watch<'j> {
    judge: &'j EarlyJudge<'j>,
    /// The completions of each job that have ended; none where the group was passed on, or is not judged here.
    growing: Mutex<Vec<Vec<Option<Completion>>>>,
    /// The groups that ended early, by job.
    decided: &'j Mutex<BTreeMap<usize, EarlyGroup>>,
    ended: Sender<Ended>,
    is_over: &'j AtomicBool,
}

impl GenerationWatch for Watch<'_> {
    fn on_completion(&self, request: usize, index: usize, completion: &Completion) {
        let mut growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = growing.get_mut(request) else { return };
        let Some(place) = group.get_mut(index) else { return };
        *place = Some(completion.clone());
        let needed = self.judge.jobs[request].needed.filter(|needed| index < *needed);
        if let Some(first) = needed.and_then(|needed| group.get(..needed))
            && let Some(decided) = self.judge.decide(request, first)
        {
            group.clear();
            let mut all = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(request, decided);
            return;
        }
        if group.iter().all(Option::is_some) {
            let whole = std::mem::take(group).into_iter().flatten().collect();
            // The threads are gone only after a panic, which their end reports.
            drop(self.ended.send((request, whole)));
        }
    }

    fn is_decided(&self, request: usize) -> bool {
        let decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.contains_key(&request)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
