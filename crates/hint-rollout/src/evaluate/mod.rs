//! Evaluation on plain prompts: the success of a policy without hints.
//!
//! [`evaluate`] samples several completions of each problem, has them judged, and returns an [`Evaluation`]. That has
//! avg@k, unbiased pass@k and maj@k, over all problems and by level or another column. Hints, groups and rewards play no
//! part. Completions that could not be judged are counted apart, and are in no mean.

use std::borrow::Cow;
use std::sync::Arc;

use hint_reward::{Rubric, Score, Verdict};

use crate::data::{Problem, Problems};
use crate::engine::{
    Completion, GenerationRequest, RolloutEngine, StopReason, TooLong, check_contract,
};
use crate::error::{RolloutError, Violations};
use crate::prompt::PromptFormat;
use crate::run::Seed;
use crate::sample::{Answers, Rollout, RolloutGroup, Scored, cut_at_stop, score_all};

mod estimators;
mod interval;
mod options;
mod result;

pub use estimators::{Votes, maj_at_k, pass_at_k};
pub use interval::Estimate;
pub use options::EvaluationOptions;
pub use result::{Evaluation, EvaluationScores, Lengths, ProblemOutcome};

/// Samples completions of each plain prompt and judges them. `on_progress` hears how many problems
/// are done, after each call of the engine.
///
/// A problem's completions depend only on the seed and its id. So neither the order of the problems
/// nor the other ones change its outcome.
///
/// ```
/// # use hint_rollout::{Completion, GenerationRequest, Hint, PolicyVersion, PromptFormat, RolloutEngine};
/// # use hint_rollout::{RolloutError, StopReason, WeightSource};
/// # struct Four;
/// # impl RolloutEngine for Four {
/// #     fn generate(&mut self, requests: &[GenerationRequest]) -> Result<Vec<Vec<Completion>>, RolloutError> {
/// #         let four = Completion::new(vec![4], vec![0.0], StopReason::Stop, PolicyVersion(0));
/// #         Ok(requests.iter().map(|request| vec![four.clone(); request.num_completions]).collect())
/// #     }
/// #     fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> { Ok(()) }
/// # }
/// # struct Digits;
/// # impl PromptFormat for Digits {
/// #     fn encode(&self, _problem: &Problem, _hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> { Ok(vec![0]) }
/// #     fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
/// #         Ok(completion.iter().map(u32::to_string).collect())
/// #     }
/// #     fn stop_tokens(&self) -> &[u32] { &[] }
/// # }
/// use std::sync::Arc;
///
/// use hint_reward::{ExactMatch, Rubric};
/// use hint_rollout::{Problem, Sampling};
/// use hint_rollout::evaluate::{EvaluationOptions, evaluate};
///
/// let problems = [Problem::new("a", "2 + 2", "4"), Problem::new("b", "2 + 3", "5")];
/// let options = EvaluationOptions::sampled(8, Sampling::default());
/// let rubric = Arc::new(Rubric::new(ExactMatch::whole_text()));
/// let evaluation = evaluate(&mut Four, &Digits, &rubric, &problems, &options, &mut |_| {})?;
/// assert_eq!(evaluation.accuracy(), 0.5);
/// assert_eq!(evaluation.overall.pass_at[&8].value, 0.5);
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
///
/// # Errors
///
/// [`RolloutError::Config`] for options that do not fit together, [`RolloutError::NothingToEvaluate`]
/// without problems, and errors of the engine, the format and the rubric.
pub fn evaluate(
    engine: &mut dyn RolloutEngine,
    format: &dyn PromptFormat,
    rubric: &Arc<Rubric>,
    problems: &dyn Problems,
    options: &EvaluationOptions,
    on_progress: &mut dyn FnMut(usize),
) -> Result<Evaluation, RolloutError> {
    Violations::check(|at| options.check(at))?;
    if problems.is_empty() {
        return Err(RolloutError::NothingToEvaluate);
    }
    let seed = Seed::new(options.seed).named("evaluate");
    let limit = engine.max_prompt_len(&options.sampling).unwrap_or(usize::MAX);
    let (mut left_out, mut columns) = (Vec::new(), Vec::new());
    let (mut outcomes, mut groups) = (Vec::new(), Vec::new());
    let mut rest = problems.iter();
    loop {
        // Of problems on disk, those of a call are in memory.
        let mut chunk = Vec::new();
        for problem in &mut rest {
            let problem = problem?;
            let prompt = format.encode(&problem, None)?;
            if prompt.len() <= limit {
                chunk.push((problem, prompt));
            } else if options.too_long == TooLong::Abort {
                let (problem, len) = (problem.id.clone(), prompt.len());
                return Err(RolloutError::TooLong { problem, what: "prompt", len, limit });
            } else {
                left_out.push(problem.id.clone());
            }
            if chunk.len() == options.problems_per_call {
                break;
            }
        }
        if chunk.is_empty() {
            break;
        }
        let request = |(problem, prompt): &(Cow<'_, Problem>, Vec<u32>)| {
            let (count, sampling) = (options.completions_per_problem, options.sampling.clone());
            let seed = seed.named(&problem.id).value();
            GenerationRequest::new(prompt.clone(), count, seed, sampling)
        };
        let requests = chunk.iter().map(request).collect::<Vec<_>>();
        let mut sampled = engine.generate(&requests)?;
        let ids = chunk.iter().map(|(problem, _)| problem.id.as_str()).collect::<Vec<_>>();
        check_contract(&ids, &requests, &sampled)?;
        for completion in sampled.iter_mut().flatten() {
            cut_at_stop(format, &options.sampling, completion)?;
        }
        let answers = chunk.iter().zip(&sampled).map(|((problem, _), completions)| {
            Ok(Arc::new(Answers::new(format, problem, "", completions)?))
        });
        let answers = answers.collect::<Result<Vec<_>, RolloutError>>()?;
        let scored = score_all(engine.peers(), &answers, rubric, options.scoring, |_, _| Ok(()))?;
        let judged = answers.iter().zip(scored);
        for (((problem, prompt), completions), (answers, Scored { scores, .. })) in
            chunk.iter().zip(sampled).zip(judged)
        {
            columns.push(options.by.iter().map(|column| problem.text_of(column)).collect());
            outcomes.push(outcome(problem, &completions, &scores, rubric));
            if options.kept_completions > 0 {
                let all = completions.into_iter().zip(answers.texts.clone()).zip(scores);
                let kept = all.take(options.kept_completions);
                let kept = kept.map(|((one, text), score)| Rollout::new(one, text, score));
                groups.push(RolloutGroup::plain(&problem.id, prompt.clone(), kept.collect()));
            }
        }
        on_progress(outcomes.len());
    }
    if outcomes.is_empty() {
        return Err(RolloutError::NothingToEvaluate);
    }
    Ok(Evaluation::new(&columns, outcomes, left_out, groups, options))
}

fn outcome(
    problem: &Problem,
    completions: &[Completion],
    scores: &[Score],
    rubric: &Rubric,
) -> ProblemOutcome {
    let verdicts = scores.iter().map(|score| score.verdict).collect::<Vec<_>>();
    let sources = scores.iter().map(|score| score.judgment.source).collect();
    let answers = scores.iter().map(|score| score.judgment.extracted.clone()).collect::<Vec<_>>();
    let is_truncated = |completion: &&Completion| completion.stop == StopReason::Length;
    ProblemOutcome {
        id: problem.id.clone(),
        correct: verdicts.iter().filter(|verdict| verdict.is_correct()).count(),
        votes: votes(&verdicts, &answers, rubric),
        verdicts,
        answers,
        sources,
        lengths: completions.iter().map(Completion::policy_tokens).collect(),
        truncated: completions.iter().filter(is_truncated).count(),
    }
}

/// Counts votes. Correct completions agree with the reference, so with each other; wrong answers are
/// one where the verifier finds them equal. `None` when an incorrect completion has no answer to
/// vote for.
fn votes(verdicts: &[Verdict], answers: &[Option<String>], rubric: &Rubric) -> Option<Votes> {
    let mut votes = Votes::default();
    let mut classes = Vec::<(&str, usize)>::new();
    for (verdict, answer) in verdicts.iter().zip(answers) {
        match verdict {
            Verdict::Correct => votes.correct += 1,
            Verdict::Incorrect => {
                let answer = answer.as_deref()?;
                match classes.iter_mut().find(|(first, _)| rubric.same_answer(first, answer)) {
                    Some((_, count)) => *count += 1,
                    None => classes.push((answer, 1)),
                }
            }
            _ => votes.abstained += 1,
        }
    }
    votes.wrong = classes.into_iter().map(|(_, count)| count).collect();
    votes.wrong.sort_unstable_by(|left, right| right.cmp(left));
    Some(votes)
}
