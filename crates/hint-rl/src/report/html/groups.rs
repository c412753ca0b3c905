//! The groups of completions that a reader of the page can open, within a budget of bytes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;
use hint_grpo::objective::RatioScheme;
use hint_grpo::rollout_table::{RolloutRecord, RolloutRole, read_rollouts};
use hint_grpo::{GrpoError, RunDir};
use hint_reward::extract::AnswerSource;
use hint_reward::{Level, Verdict};
use hint_rollout::sample::RolloutSource;
use serde::Serialize;

use super::block::Shards;
use super::intervals::Intervals;
use super::run::Run;
use super::tokens::Splitter;

/// Bytes of the file for the entry of a group in the index, on the high side.
const ENTRY: f64 = 60.0;
/// Characters of a question in the list of groups.
const TITLE: usize = 120;

/// Data of a group for showing, searching and filtering in the list.
#[derive(Debug, Serialize)]
pub(super) struct Index {
    verdicts: Vec<&'static str>,
    sources: Vec<&'static str>,
    levels: Vec<&'static str>,
    kinds: Vec<&'static str>,
    /// Id, beginning of the question, and difficulty level.
    problems: Vec<(String, String, Option<String>)>,
    pub(super) rows: Vec<Row>,
    /// Groups in the rollout tables.
    pub(super) total: usize,
}

/// A group: an array in the file, in this order.
#[derive(Debug, Serialize)]
pub(super) struct Row(
    /// Run, step, group.
    pub(super) usize,
    pub(super) u64,
    usize,
    /// Problem, kind: indexes of the lists.
    usize,
    pub(super) usize,
    /// Completions by verdict.
    [usize; Verdict::ALL.len()],
    /// Sources and levels: a bit for each.
    u32,
    u32,
    /// Mean reward.
    f64,
    /// Place of the group.
    pub(super) usize,
    pub(super) usize,
);

/// Findings of a group, the most telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Unjudged,
    CutOff,
    NotRescued,
    AllWrong,
    Rescued,
    Mixed,
    AllCorrect,
    Evaluation,
}

impl Kind {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Unjudged, "not judged"),
        (Self::CutOff, "cut off"),
        (Self::NotRescued, "all wrong with hint"),
        (Self::AllWrong, "all wrong"),
        (Self::Rescued, "rescued by hint"),
        (Self::Mixed, "mixed"),
        (Self::AllCorrect, "all correct"),
        (Self::Evaluation, "evaluation"),
    ];

    fn of(group: &[RolloutRecord]) -> Self {
        if group[0].role == RolloutRole::Evaluated {
            return Self::Evaluation;
        }
        // Hinted completions that took no part only tell whether hints were tried.
        let has_hint = group.iter().any(|one| one.source != RolloutSource::Plain);
        let members = group.iter().filter(|one| one.role != RolloutRole::Discarded);
        let (failed, group) = members
            .partition::<Vec<_>, _>(|one| !one.verdict.is_correct() && !one.verdict.is_wrong());
        let is = |of: fn(&RolloutRecord) -> bool| group.iter().filter(move |one| of(one)).count();
        let plain = |one: &RolloutRecord| one.source == RolloutSource::Plain;
        let correct = is(|one| one.verdict.is_correct());
        let plain_correct = group.iter().any(|one| plain(one) && one.verdict.is_correct());
        if group.is_empty() || failed.len() > group.len() {
            Self::Unjudged
        } else if 2 * is(|one| one.stop.name() == "length") > group.len() {
            Self::CutOff
        } else if correct == 0 {
            if has_hint { Self::NotRescued } else { Self::AllWrong }
        } else if correct == group.len() {
            Self::AllCorrect
        } else if has_hint && !plain_correct {
            Self::Rescued
        } else {
            Self::Mixed
        }
    }
}

/// A group as it can be opened.
#[derive(Debug, Serialize)]
struct Group<'r> {
    level: Option<&'r str>,
    question: Option<&'r str>,
    reference: Option<&'r str>,
    /// The plain prompt, as the model reads it.
    prompt: Option<String>,
    /// Hints, each with the prompt that has it.
    hints: Vec<(&'r str, Option<String>)>,
    affinity: Option<[f64; 3]>,
    behavior_affinity: Option<[f64; 3]>,
    hinted_weight: Option<f64>,
    completions: Vec<Completion<'r>>,
}

#[derive(Debug, Serialize)]
struct Completion<'r> {
    role: &'static str,
    source: &'static str,
    /// Index of its hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint_share: Option<f64>,
    /// Whether the hint teaches it: the completion was not sampled under it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    taught: bool,
    /// The text before the tokens; the whole text if it is not split.
    text: &'r str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    special: Vec<(usize, String)>,
    length: usize,
    cut_off: bool,
    version: u64,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    extracted: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    reward: f64,
    parts: &'r BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advantage: Option<f64>,
    /// Hundredths of a nat: the distribution that drew each token.
    logprobs: Vec<Option<i32>>,
    /// Thousandths of a nat: `log π_θ − log π_old` of each token.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratios: Option<Vec<Option<i32>>>,
    /// Hundredths of a nat: Δ of each token.
    #[serde(skip_serializing_if = "Option::is_none")]
    deltas: Option<Vec<Option<i32>>>,
    /// Thousandths of a nat: `log π_θ − log π_ref` of each token.
    #[serde(skip_serializing_if = "Option::is_none")]
    drifts: Option<Vec<Option<i32>>>,
}

/// Reads the rollout tables of the runs, whose intervals are set, and the completions of evaluations. Packs the groups
/// that fit into `budget` bytes, evenly over the steps; groups that a verdict shows are always among them.
///
/// # Errors
///
/// A damaged file.
pub(super) fn pack(runs: &mut [Run], budget: f64) -> Result<(Index, Vec<String>)> {
    let mut files = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        for of_run in [RunDir::rollouts(&run.dir)?, RunDir::evaluated(&run.dir)?] {
            files.extend(of_run.into_iter().map(|(step, path)| (at, step, path)));
        }
    }
    // The newest first, which verdicts are about: what their groups take beyond their share is missing to older steps.
    // By step, so that what a step leaves of its share goes to the same step of the next run.
    files.sort_by_key(|(at, step, _)| (Reverse(*step), *at));
    let mut packer = Packer::new(budget, files.len());
    let mut intervals = runs.iter().map(|_| Intervals::default()).collect::<Vec<_>>();
    let mut splitters = runs.iter().map(|run| Splitter::of_run(&run.dir)).collect::<Vec<_>>();
    for (at, _, path) in files {
        let records = match read_rollouts(&path) {
            // The table of a run that is still training is thinned when it is full.
            Err(GrpoError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                continue;
            }
            records => records?,
        };
        if records.first().is_some_and(|one| one.role != RolloutRole::Evaluated) {
            intervals[at].add(&records);
        }
        packer.add_step(at, &runs[at], splitters[at].as_mut().ok(), &records)?;
    }
    for ((run, intervals), splitter) in runs.iter_mut().zip(&intervals).zip(&splitters) {
        intervals.set(run);
        run.uncolored = splitter.as_ref().err().cloned();
    }
    let Packer { mut index, shards, .. } = packer;
    index.rows.sort_by_key(|row| (row.0, row.1, row.4 == Kind::Evaluation as usize, row.2));
    let shards = shards.map_or_else(|| Ok(Vec::new()), Shards::finished)?;
    Ok((index, shards))
}

struct Packer {
    index: Index,
    /// From the first step on, whose groups show how they compress.
    shards: Option<Shards>,
    /// By id and question: held-out problems may have the ids of others.
    problems: BTreeMap<(String, Option<String>), usize>,
    /// Bytes that the steps so far may use, and the bytes of each step.
    allowed: f64,
    share: f64,
}

impl Packer {
    fn new(budget: f64, steps: usize) -> Self {
        let index = Index {
            verdicts: Verdict::ALL.map(Verdict::name).into(),
            sources: RolloutSource::ALL.map(RolloutSource::name).into(),
            levels: [Level::Strict, Level::Lenient].map(Level::name).into(),
            kinds: Kind::ALL.map(|(_, name)| name).into(),
            problems: Vec::new(),
            rows: Vec::new(),
            total: 0,
        };
        let share = budget / steps.max(1) as f64;
        Self { index, shards: None, problems: BTreeMap::new(), allowed: 0.0, share }
    }

    /// Adds the groups of a step that fit into its share of the budget and the rest of earlier steps.
    fn add_step(
        &mut self,
        at: usize,
        run: &Run,
        mut splitter: Option<&mut Splitter>,
        records: &[RolloutRecord],
    ) -> Result<()> {
        self.allowed += self.share;
        let groups = records.chunk_by(|one, next| one.group == next.group).collect::<Vec<_>>();
        self.index.total += groups.len();
        let mut json = |group: &[RolloutRecord]| {
            serde_json::to_string(&opened(group, run, splitter.as_deref_mut()))
        };
        let mut shards = match self.shards.take() {
            Some(shards) => shards,
            None => Shards::new(
                &groups.iter().map(|group| json(group)).collect::<Result<String, _>>()?,
            )?,
        };
        for (kind, group) in in_order(groups, run) {
            let json = json(group)?;
            let used = shards.bytes() + self.index.rows.len() as f64 * ENTRY;
            let is_full = used + json.len() as f64 * shards.ratio + ENTRY > self.allowed;
            if is_full && !run.shows(group) {
                break;
            }
            let place = shards.push(json)?;
            let row = self.row(at, kind, group, place);
            self.index.rows.push(row);
        }
        self.shards = Some(shards);
        Ok(())
    }

    fn row(
        &mut self,
        run: usize,
        kind: Kind,
        group: &[RolloutRecord],
        place: (usize, usize),
    ) -> Row {
        let first = &group[0];
        let key = (first.problem.clone(), first.question.clone());
        let problem = *self.problems.entry(key).or_insert_with(|| {
            let title = first.question.as_deref().unwrap_or_default();
            let title = title.chars().take(TITLE).collect();
            let level = first.problem_level.clone();
            self.index.problems.push((first.problem.clone(), title, level));
            self.index.problems.len() - 1
        });
        let mut verdicts = [0; Verdict::ALL.len()];
        let (mut sources, mut levels) = (0, 0);
        for record in group.iter().filter(|one| one.role != RolloutRole::Discarded) {
            for (count, verdict) in verdicts.iter_mut().zip(Verdict::ALL) {
                *count += usize::from(verdict == record.verdict);
            }
            sources |= 1 << (record.source as u32);
            levels |= record.level.map_or(0, |level| 1 << (level as u32));
        }
        // As the metric `reward`, for groups that train.
        let is_member = |one: &&RolloutRecord| {
            matches!(one.role, RolloutRole::Trained | RolloutRole::Masked | RolloutRole::LeftOut)
        };
        let trained = group.iter().filter(is_member).collect::<Vec<_>>();
        let reward =
            trained.iter().map(|one| one.reward).sum::<f64>() / trained.len().max(1) as f64;
        let reward = (reward * 1e4).round() / 1e4;
        let (step, index) = (first.step, first.group);
        let kind = kind as usize;
        Row(run, step, index, problem, kind, verdicts, sources, levels, reward, place.0, place.1)
    }
}

/// The groups of a step in the order in which they are kept. First come groups that the verdict shows. Groups that were
/// not judged, were cut off, or had hints without success follow. Then comes one of each other kind, and again.
fn in_order<'g>(groups: Vec<&'g [RolloutRecord]>, run: &Run) -> Vec<(Kind, &'g [RolloutRecord])> {
    let mut seen = BTreeMap::<Kind, usize>::new();
    let mut ordered = Vec::with_capacity(groups.len());
    for group in groups {
        let kind = Kind::of(group);
        let nth = seen.entry(kind).or_default();
        let is_telling = kind <= Kind::NotRescued;
        let is_shown = run.shows(group);
        let place = (Reverse(is_shown), Reverse(is_telling), if is_telling { 0 } else { *nth });
        ordered.push((place, kind, group));
        *nth += 1;
    }
    ordered.sort_by_key(|(place, kind, group)| (*place, *kind, group[0].group));
    ordered.into_iter().map(|(_, kind, group)| (kind, group)).collect()
}

fn opened<'r>(
    group: &'r [RolloutRecord],
    run: &Run,
    mut splitter: Option<&mut Splitter>,
) -> Group<'r> {
    let first = &group[0];
    let mut hints = Vec::<(&str, Option<String>)>::new();
    let mut completions = Vec::with_capacity(group.len());
    for record in group {
        let taught = || Some((record.teacher_hint.as_deref()?, &record.teacher_prompt));
        let hint = record.hint.as_deref().map(|hint| (hint, &record.sampled_prompt));
        let hint = hint.or_else(taught).map(|(hint, prompt)| {
            let prompt = prompt.as_deref().zip(splitter.as_deref());
            let prompt = prompt.and_then(|(prompt, splitter)| splitter.prompt(prompt));
            let entry = (hint, prompt);
            hints.iter().position(|known| *known == entry).unwrap_or_else(|| {
                hints.push(entry);
                hints.len() - 1
            })
        });
        completions.push(completion(record, hint, run, splitter.as_deref_mut()));
    }
    let parts =
        |affinity: hint_affinity::Affinity| [affinity.value(), affinity.eur(), affinity.uc()];
    Group {
        level: first.problem_level.as_deref(),
        question: first.question.as_deref(),
        reference: first.reference.as_deref(),
        prompt: splitter.and_then(|splitter| splitter.prompt(&first.prompt)),
        hints,
        affinity: first.affinity.map(parts),
        behavior_affinity: first.behavior_affinity.map(parts),
        hinted_weight: first.hinted_weight,
        completions,
    }
}

fn completion<'r>(
    record: &'r RolloutRecord,
    hint: Option<usize>,
    run: &Run,
    splitter: Option<&mut Splitter>,
) -> Completion<'r> {
    let pieces = splitter.and_then(|splitter| splitter.pieces(&record.tokens, &record.text));
    let before = pieces.as_ref().map_or(record.text.len(), |pieces| pieces.before.len());
    let (tokens, special) = pieces.map(|pieces| (pieces.texts, pieces.special)).unwrap_or_default();
    let ratio = record.logprobs.as_ref().zip(record.old_logprobs.as_ref());
    let drift = record.logprobs.as_ref().zip(record.ref_logprobs.as_ref());
    Completion {
        role: record.role.name(),
        source: record.source.name(),
        hint,
        hint_share: record.hint_share.filter(|share| *share != 1.0),
        taught: record.teacher_hint.is_some(),
        text: &record.text[..before],
        tokens,
        special,
        length: record.tokens.len(),
        cut_off: record.stop.name() == "length",
        version: record.version,
        verdict: record.verdict.name(),
        extracted: record.extracted.as_deref(),
        rule: record.extracted_by.map(AnswerSource::name),
        level: record.level.map(Level::name),
        reason: record.reason.as_deref(),
        reward: record.reward,
        parts: &record.reward_parts,
        advantage: record.advantage,
        logprobs: record.behavior_logprobs.iter().map(|logprob| scaled(*logprob, 100.0)).collect(),
        ratios: ratio.map(|(new, old)| difference(new, old, 1000.0)),
        deltas: deltas(record, run.parsed.loss.ratio_scheme),
        drifts: drift.map(|(new, reference)| difference(new, reference, 1000.0)),
    }
}

/// Δ of a completion with a hint. It is the sampler's log-probability on the hinted prompt, minus the policy's
/// on the plain one, if the update scored that. Where a hint teaches, it is the teacher's, minus its counterpart's.
fn deltas(record: &RolloutRecord, scheme: RatioScheme) -> Option<Vec<Option<i32>>> {
    if let Some(teacher) = &record.teacher_logprobs {
        let compared = record.contrast_logprobs.as_ref().or(record.old_logprobs.as_ref())?;
        return Some(difference(teacher, compared, 100.0));
    }
    let is_hinted = record.source == RolloutSource::Hinted && record.sampled_prompt.is_some();
    let numerator = record.logprobs.as_ref().filter(|_| scheme != RatioScheme::Hinted);
    let plain = record.plain_logprobs.as_ref().or(numerator).filter(|_| is_hinted)?;
    Some(difference(&record.behavior_logprobs, plain, 100.0))
}

fn difference(left: &[f32], right: &[f32], scale: f32) -> Vec<Option<i32>> {
    left.iter().zip(right).map(|(left, right)| scaled(left - right, scale)).collect()
}

/// A number in units of `1 / scale`; nothing if it is not finite.
#[expect(clippy::cast_possible_truncation, reason = "bounded before")]
fn scaled(value: f32, scale: f32) -> Option<i32> {
    value.is_finite().then(|| (value * scale).clamp(-1e9, 1e9).round() as i32)
}
