//! Engines that fail or break their contract in the middle of a run.

use hint_grpo::GrpoError;
use hint_rollout::{
    Completion, GenerationRequest, LocalEngine, RolloutEngine, RolloutError, WeightSource,
};
use hint_tests::{Digits, lenient_rubric};

use super::{Faulty, fail_and_resume};

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The call returns an error.
    Error,
    /// One completion is missing.
    Short,
    /// A whole group is missing.
    NoGroup,
    /// A token has no log-probability.
    NoLogprob,
    /// A log-probability is not a number.
    NotFinite,
    /// New weights are not taken up.
    Sync,
}

/// Breaks at its `at`-th call, from 0.
struct Broken {
    inner: LocalEngine,
    fault: Fault,
    at: u64,
    calls: u64,
}

impl Broken {
    fn is_due(&mut self) -> bool {
        self.calls += 1;
        self.calls - 1 == self.at
    }
}

impl RolloutEngine for Broken {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let mut groups = self.inner.generate(requests)?;
        if matches!(self.fault, Fault::Sync) || !self.is_due() {
            return Ok(groups);
        }
        let middle = groups.len() / 2;
        match self.fault {
            Fault::Error => return Err(RolloutError::other("engine", "the cable was cut")),
            Fault::Short => drop(groups[middle].pop()),
            Fault::NoGroup => drop(groups.pop()),
            Fault::NoLogprob => drop(groups[middle][0].behavior_logprobs.pop()),
            Fault::NotFinite => groups[middle][0].behavior_logprobs[0] = f64::NAN,
            Fault::Sync => {}
        }
        Ok(groups)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        if matches!(self.fault, Fault::Sync) && self.is_due() {
            return Err(RolloutError::other("engine", "the disk of the server is full"));
        }
        self.inner.sync(weights)
    }
}

#[test]
fn an_engine_that_fails_in_the_middle_of_a_step_loses_nothing() {
    let faults = [
        Fault::Error,
        Fault::Short,
        Fault::NoGroup,
        Fault::NoLogprob,
        Fault::NotFinite,
        Fault::Sync,
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        // Odd calls are mostly those of the hinted stage. The first step of all may fail, too.
        for at in [0, 3 + index as u64 % 2] {
            let error = fail_and_resume(|inner| {
                let engine = Broken { inner, fault, at, calls: 0 };
                Faulty { engine, format: Digits, rubric: lenient_rubric() }
            });
            let GrpoError::Rollout(error) = error else { panic!("{fault:?}: {error}") };
            let is_expected = match fault {
                Fault::Error | Fault::Sync => matches!(error, RolloutError::Other { .. }),
                Fault::Short | Fault::NoGroup | Fault::NoLogprob => {
                    matches!(error, RolloutError::EngineContract { .. })
                }
                Fault::NotFinite => matches!(error, RolloutError::EngineNotFinite { .. }),
            };
            assert!(is_expected, "{fault:?}: {error}");
        }
    }
}
