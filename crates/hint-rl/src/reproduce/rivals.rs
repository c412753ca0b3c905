//! R1 and R2: which measure of a hint, taken before training, ranks the gains of the arms?
//!
//! The arms of a family differ in their hints alone: in degree, or because the hints are controls. Every measure is taken
//! on training problems by the policy that all arms start from. The gain is the final accuracy minus that of the first arm
//! with the same seed, by level.

use std::path::Path;

use anyhow::{Context, Result};
use hint_rollout::{Problem, Seed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::html::Table;
use super::report::{At, Report};
use super::results::{Part, RunResult};
use super::schedule::Task;
use super::stats::{average, pick};
use crate::audit::{Measures, measures, try_hints};
use crate::process::replace_file;
use crate::workload::{Model, api_key};

/// The size of a trial of hints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    /// Problems that hints are tried on.
    pub(super) problems: usize,
    /// Problems that are sampled at once, which bounds the memory and the wait after a signal. A placebo is the hint of
    /// one of them.
    pub(super) at_once: usize,
}

/// Completions of each problem with a hint, and as many without.
const COMPLETIONS: usize = 4;
/// Resamples of an interval.
const RESAMPLES: u64 = 1000;

/// Arms that differ in their hints alone. A row is the name of a hint, the arm that samples under it, and the arm that it
/// teaches.
const SOURCES: [(&str, &str, &str); 5] = [
    ("abstract", "hint", "teach"),
    ("medium", "hint_medium", "teach_medium"),
    ("direct", "hint_direct", "teach_direct"),
    ("placebo", "hint_placebo", "teach_placebo"),
    ("unrelated", "hint_unrelated", "teach_unrelated"),
];

/// The measures of one kind of hint on the problems of one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) source: String,
    level: String,
    problems: usize,
    measures: Measures,
}

impl Measured {
    /// Hinted minus plain share of correct completions.
    #[cfg(test)]
    pub(super) const fn accuracy_gap(&self) -> f64 {
        self.measures.accuracy_gap
    }
}

/// The measures in the file, and those of further kinds of hints that the arms have. The file is written after each
/// kind. So a session that `stop` ends begins with the kind that it was at. Takes none where there would be one kind alone.
///
/// # Errors
///
/// A damaged file; a model or problems that cannot be loaded.
pub(super) fn measure(
    path: &Path,
    tasks: &[Task],
    trial: Trial,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Measured>> {
    let mut found = read(path)?;
    let has = |name: &&str| tasks.iter().find(|task| task.settings.methods[0].name == **name);
    let sources = SOURCES.iter().filter_map(|(source, hinted, taught)| {
        Some((*source, [hinted, taught].into_iter().find_map(has)?))
    });
    let mut sources = sources.collect::<Vec<_>>();
    // Those in the file are rivals too.
    let has_rival = sources.len() > 1 || !found.is_empty();
    sources.retain(|(name, _)| found.iter().all(|one| one.source != *name));
    let Some((_, first)) = sources.first().filter(|_| has_rival && !stop()) else {
        return Ok(found);
    };
    note!("measuring {} kinds of hints before training", sources.len());
    let workload = first.settings.workload()?;
    let model = workload.model(0)?;
    let sample = workload.train.sample_by_hash(trial.problems)?.to_vec()?;
    for (at, (name, task)) in sources.iter().copied().enumerate() {
        let Some(measured) = measure_kind((name, task), &model, &sample, trial.at_once, stop)?
        else {
            note!("stopped with {} kinds of hints left to measure", sources.len() - at);
            break;
        };
        found.extend(measured);
        let place = |one: &Measured| SOURCES.iter().position(|(name, ..)| *name == one.source);
        found.sort_by_key(place);
        replace_file(path, &(serde_json::to_string_pretty(&found)? + "\n"))?;
    }
    Ok(found)
}

/// The measures of a kind of hint by level, which the arm of `task` has. `None` if `stop` came first.
fn measure_kind(
    (name, task): (&str, &Task),
    model: &Model,
    sample: &[Problem],
    at_once: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<Measured>>> {
    let mut config = task.settings.config(&task.settings.methods[0]);
    config.rollout.group_size = COMPLETIONS;
    let mut outcomes = Vec::new();
    for part in sample.chunks(at_once) {
        if stop() {
            return Ok(None);
        }
        let source = config.rollout.source.build(api_key)?;
        outcomes.extend(try_hints(model, &config, source, part)?);
    }
    let mut levels = outcomes.iter().map(|(level, _)| level.as_str()).collect::<Vec<_>>();
    levels.sort_unstable();
    levels.dedup();
    let mut found = Vec::new();
    for level in levels {
        let of = outcomes.iter().filter(|(at, _)| at == level).map(|(_, outcome)| outcome);
        let of = of.collect::<Vec<_>>();
        let (source, level, problems) = (name.to_owned(), level.to_owned(), of.len());
        found.push(Measured { source, level, problems, measures: measures(&of)? });
    }
    Ok(Some(found))
}

/// The measures in the file; none without it.
///
/// # Errors
///
/// A damaged file.
pub(super) fn read(path: &Path) -> Result<Vec<Measured>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let shown = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
    serde_json::from_slice(&text).with_context(|| format!("`{shown}` is damaged; delete it"))
}

/// One source of a family: its measures by level, and the gains by level and seed.
#[derive(Debug, Clone)]
struct Source {
    measures: Vec<Option<Measures>>,
    gains: Vec<Vec<f64>>,
}

/// A rank correlation, with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Correlation {
    value: f64,
    low: f64,
    high: f64,
}

/// What a measure says of the gains of a family.
#[derive(Debug, Serialize)]
struct Ranking {
    family: &'static str,
    measure: &'static str,
    /// Over all pairs of a source and a level.
    pooled: Option<Correlation>,
    /// Over the sources of a level, averaged over levels.
    within: Option<Correlation>,
    sources: usize,
    levels: usize,
    seeds: usize,
}

const FAMILIES: [&str; 2] = ["sampled under", "teaches"];

impl Report<'_> {
    /// The sources of a family with their levels, on the seeds that all arms and the first one have. `None` unless two
    /// arms of it are done.
    fn sources(&self, measured: &[Measured], family: usize) -> Result<Option<Vec<Source>>> {
        let Some(first) = self.first() else { return Ok(None) };
        let arms = SOURCES.iter().filter_map(|(source, hinted, taught)| {
            Some((*source, self.arm([hinted, taught][family])?))
        });
        let arms = arms.collect::<Vec<_>>();
        let has = |runs: &[RunResult], seed| runs.iter().any(|run| run.seed == seed);
        let seeds = first.iter().map(|run| run.seed);
        let seeds = seeds.filter(|seed| arms.iter().all(|(_, runs)| has(runs, *seed)));
        let seeds = seeds.collect::<Vec<_>>();
        if arms.len() < 2 || seeds.is_empty() {
            return Ok(None);
        }
        let slices = self.slices.of_distribution("in");
        let slices = slices.filter(|slice| matches!(slice.1, Some(Part::Level(_))));
        let slices = slices.collect::<Vec<_>>();
        let mut sources = Vec::new();
        for (name, runs) in arms {
            let (mut of_levels, mut gains) = (Vec::new(), Vec::new());
            for slice in &slices {
                let is_its = |one: &&Measured| {
                    one.source == name && slice.1 == Some(Part::Level(one.level.clone()))
                };
                of_levels.push(measured.iter().find(is_its).map(|one| one.measures.clone()));
                let mut gain = Vec::new();
                for seed in &seeds {
                    let of = |runs: &[RunResult]| -> Result<f64> {
                        let run = runs.iter().find(|run| run.seed == *seed);
                        let run = run.map_or(&[][..], std::slice::from_ref);
                        let rows = self.outcomes(run, slice, At::End)?.unwrap_or_default();
                        Ok(rows.first().map_or(0.0, |row| average(row)))
                    };
                    gain.push(of(runs)? - of(first)?);
                }
                gains.push(gain);
            }
            sources.push(Source { measures: of_levels, gains });
        }
        Ok(Some(sources))
    }

    fn rankings(&self, measured: &[Measured]) -> Result<Vec<Ranking>> {
        let mut found = Vec::new();
        let Some(names) = measured.first().map(|one| one.measures.named()) else {
            return Ok(found);
        };
        for (family, name) in FAMILIES.into_iter().enumerate() {
            let Some(sources) = self.sources(measured, family)? else { continue };
            for (at, (measure, _)) in names.iter().enumerate() {
                let [pooled, within] = correlations(&sources, at);
                let levels = sources[0].gains.len();
                let seeds = sources[0].gains.first().map_or(0, Vec::len);
                let (family, measure, sources) = (name, *measure, sources.len());
                found.push(Ranking { family, measure, pooled, within, sources, levels, seeds });
            }
        }
        Ok(found)
    }

    /// R1, the correlations, and R2, the measures themselves.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn rivals(&self, measured: &[Measured]) -> Result<[Table; 2]> {
        let shown = |correlation: Option<Correlation>| {
            correlation.map_or_else(String::new, |Correlation { value, low, high }| {
                format!("{value:+.2} [{low:+.2}, {high:+.2}]")
            })
        };
        let row = |one: &Ranking| {
            vec![
                one.measure.to_owned(),
                one.family.to_owned(),
                shown(one.pooled),
                shown(one.within),
                one.sources.to_string(),
                one.levels.to_string(),
                one.seeds.to_string(),
            ]
        };
        let rows = self.rankings(measured)?.iter().map(row).collect();
        let first = self.first().map_or("", |runs| runs[0].arm.name);
        let about = format!(
            "Spearman's rank correlation of a measure before training with the gain over {first} after the last step, in \
             distribution. A measure depends on the kind of hint and the level, not on the seed, so five kinds of hints \
             alone would be five points. Levels make more points, but a measure can then correlate because hard problems \
             gain otherwise than easy ones. Within a level, only the kinds of hints differ; the correlation is averaged over \
             levels. Intervals are 95 % by a bootstrap that draws seeds and kinds of hints. (ours)"
        );
        let header = [
            "measure",
            "hints that",
            "over kinds and levels",
            "within a level",
            "kinds",
            "levels",
            "seeds",
        ];
        let header = header.map(str::to_owned).to_vec();
        let title = "which measure ranks the gains".to_owned();
        let rankings = Table { id: "R1", title, about, header, rows };

        let mut header = ["hints", "level", "problems"].map(str::to_owned).to_vec();
        let names = measured.first().map(|one| one.measures.named().map(|(name, _)| name));
        header.extend(names.into_iter().flatten().map(str::to_owned));
        let row = |one: &Measured| {
            let values = one
                .measures
                .named()
                .map(|(_, value)| value.map_or_else(String::new, |value| format!("{value:.3}")));
            let place = [one.source.clone(), one.level.clone(), one.problems.to_string()];
            place.into_iter().chain(values).collect()
        };
        let about = format!(
            "Of {COMPLETIONS} completions with the hint and as many without, by the policy that all arms start from. Hint \
             reliance, the gap of log-probabilities and the off-context weight are of correct hinted completions. (ours)"
        );
        let title = "measures of hints before training".to_owned();
        let rows = measured.iter().map(row).collect();
        Ok([rankings, Table { id: "R2", title, about, header, rows }])
    }

    /// The correlations and the measures as JSON.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn rivals_json(&self, measured: &[Measured]) -> Result<Value> {
        Ok(json!({ "correlations": self.rankings(measured)?, "measures": measured }))
    }
}

/// The correlation of a measure with the gains over sources and levels, and within a level.
fn correlations(sources: &[Source], measure: usize) -> [Option<Correlation>; 2] {
    let seeds = sources[0].gains.first().map_or(0, Vec::len);
    let all_seeds = (0..seeds).collect::<Vec<_>>();
    let value = both(&sources.iter().collect::<Vec<_>>(), &all_seeds, measure);
    let mut resamples = [Vec::new(), Vec::new()];
    for at in 0..RESAMPLES {
        let (by_source, by_seed) = (Seed::new(at).named("source"), Seed::new(at).named("seed"));
        let drawn = (0..sources.len() as u64)
            .map(|draw| &sources[pick(by_source.child(draw), sources.len())]);
        let seeds = (0..seeds as u64).map(|draw| pick(by_seed.child(draw), seeds));
        let found = both(&drawn.collect::<Vec<_>>(), &seeds.collect::<Vec<_>>(), measure);
        for (all, one) in resamples.iter_mut().zip(found) {
            all.extend(one);
        }
    }
    let [pooled, within] = resamples.map(|mut all| {
        all.sort_by(f64::total_cmp);
        let tail = all.len() / 40;
        Some((*all.get(tail)?, *all.get((all.len() - 1).checked_sub(tail)?)?))
    });
    let interval = |value: Option<f64>, ends: Option<(f64, f64)>| {
        let (value, (low, high)) = (value?, ends?);
        Some(Correlation { value, low, high })
    };
    [interval(value[0], pooled), interval(value[1], within)]
}

/// Both correlations over some sources and seeds. `None` where ranks do not differ.
fn both(sources: &[&Source], seeds: &[usize], measure: usize) -> [Option<f64>; 2] {
    let levels = sources.iter().map(|source| source.gains.len()).min().unwrap_or(0);
    let mut by_level = vec![Vec::new(); levels];
    for source in sources {
        for (level, points) in by_level.iter_mut().enumerate() {
            let measures = source.measures.get(level).and_then(Option::as_ref);
            let Some((_, Some(x))) = measures.map(|one| one.named()[measure]) else { continue };
            let gains = seeds.iter().map(|seed| source.gains[level][*seed]);
            points.push((x, average(&gains.collect::<Vec<_>>())));
        }
    }
    let within = by_level.iter().filter_map(|points| spearman(points)).collect::<Vec<_>>();
    let within = (!within.is_empty()).then(|| average(&within));
    [spearman(&by_level.concat()), within]
}

/// Spearman's rank correlation, ties with their mean rank. `None` for fewer than three points, and where one side does
/// not differ.
fn spearman(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let x = ranks(&points.iter().map(|(x, _)| *x).collect::<Vec<_>>());
    let y = ranks(&points.iter().map(|(_, y)| *y).collect::<Vec<_>>());
    let middle = (points.len() - 1) as f64 / 2.0;
    let sum = |one: &[f64], other: &[f64]| {
        one.iter().zip(other).map(|(one, other)| (one - middle) * (other - middle)).sum::<f64>()
    };
    let spread = (sum(&x, &x) * sum(&y, &y)).sqrt();
    (spread > 0.0).then(|| sum(&x, &y) / spread)
}

/// Ranks from 0, ties with their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.spearmanr` of these pairs.
    #[test]
    fn the_rank_correlation_is_that_of_spearman() {
        let points = [(1.0, 5.0), (2.0, 6.0), (3.0, 7.0), (4.0, 8.0), (5.0, 7.0)];
        assert!((spearman(&points).unwrap() - 0.820_782_681_668_123).abs() < 1e-12);
        assert_eq!(spearman(&[(1.0, 2.0), (2.0, 1.0), (3.0, 0.0)]), Some(-1.0));
        assert_eq!(spearman(&[(1.0, 2.0), (1.0, 1.0), (1.0, 0.0)]), None);
        assert_eq!(spearman(&points[..2]), None);
    }

    fn source(gaps: [f64; 2], gains: [f64; 2]) -> Source {
        let measures = |gap: f64| {
            Some(Measures {
                accuracy_gap: gap,
                affinity: 0.5,
                teacher_affinity: 0.5,
                hint_reliance: None,
                log_gap: None,
                off_context_weight: None,
                overlap: None,
                compatibility: None,
                teachability: None,
            })
        };
        Source {
            measures: gaps.map(measures).to_vec(),
            gains: gains.map(|gain| vec![gain; 3]).to_vec(),
        }
    }

    /// The gains follow the measure within each level, and oppose it between levels.
    #[test]
    fn levels_do_not_hide_what_a_measure_says_of_hints() {
        let sources = [
            source([0.1, 0.6], [0.6, 0.1]),
            source([0.2, 0.7], [0.7, 0.2]),
            source([0.3, 0.8], [0.8, 0.3]),
        ];
        let [pooled, within] = correlations(&sources, 0);
        let (pooled, within) = (pooled.unwrap(), within.unwrap());
        assert!(pooled.value < 0.0, "{pooled:?}");
        assert_eq!((within.value, within.high), (1.0, 1.0));
        assert_eq!(correlations(&sources, 1), [None, None], "all hints have the same Affinity");
        assert_eq!(correlations(&sources, 3), [None, None], "no completion was correct");
    }
}
