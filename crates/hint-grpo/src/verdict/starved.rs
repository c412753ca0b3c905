//! Groups are all wrong, and hints rescue few of them.

use hint_rollout::collect::curriculum::ProblemSelection;
use hint_rollout::collect::hinted::HintTrigger;
use hint_rollout::hint::leak::LeakAction;
use hint_rollout::hint::source::HintSourceConfig;

use super::signal::{BOUND, Redrawn, Shares, is_graded, is_taught, redraws};
use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;
use crate::objective::Credit;

/// Share of groups that is too large while the pass rate does not rise: more than every other group.
const STALLED: f64 = 0.5;
/// Growth of the pass rate from which on a policy learns, until the pass rate is back where it began.
const LEARNS: f64 = 0.05;
/// Share of all-wrong groups that agree on an answer, from which on that is worth a word.
const AGREE: f64 = 0.5;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Starved,
    when: "more than 50 % of the groups are all wrong after hints and the pass rate has not risen by 0.05. Or more than \
           80 % are all wrong after hints. Or more than 80 % have equal rewards and more of them are all wrong than all \
           right. With dynamic sampling: more than 80 % of the groups drawn have no signal, most of them all wrong. Or \
           more than 5 % of a step's groups are missing, for the same reason",
    find,
};

/// The pass rate of the first steps and of the latest ones; nothing while there are no first steps to compare with.
fn pass_rates(history: &History) -> Option<(f64, f64)> {
    let name = metrics::ROLLOUT_PASS_RATE;
    Some((history.start(name)?, history.mean(name)?))
}

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    if redraws(config) {
        let redrawn =
            Redrawn::of(history, config).filter(|redrawn| redrawn.wrong > redrawn.right)?;
        let evidence = redrawn.evidence(redrawn.wrong, "all wrong");
        let found = Found {
            evidence,
            advice: advice(history, config),
            measured: redrawn.measured,
            since: None,
        };
        return Some(with_agreement(found, history));
    }
    // Graded rewards differ where verdicts do not.
    if is_graded(history) {
        return None;
    }
    let shares = Shares::of(config);
    let (wrong, after) = history.wrong()?;
    let right = history.mean(shares.right).unwrap_or(0.0);
    let mostly_equal = history.beyond(shares.equal, BOUND).is_some()
        && history.mean(shares.wrong).is_some_and(|wrong| wrong > right);
    let mostly_wrong = history.beyond(shares.wrong, BOUND).is_some();
    let rates = pass_rates(history);
    let rose = rates.is_some_and(|(first, _)| {
        history.latched(metrics::ROLLOUT_PASS_RATE, first + LEARNS, first)
    });
    let stalled = !rose && history.beyond(shares.wrong, STALLED).is_some();
    if !mostly_wrong && !mostly_equal && !stalled {
        return None;
    }
    let hinted = history.mean(metrics::HINT_HINTED_FRAC).filter(|hinted| *hinted > 0.0);
    let mut evidence = format!("{} of the groups are all wrong", percent(wrong));
    if hinted.is_some() {
        evidence = format!("{evidence}, {} after hints", percent(after));
    }
    let taught = history.mean(metrics::HINT_TAUGHT_FRAC).filter(|_| is_taught(config));
    if let Some(taught) = taught {
        evidence = format!("{evidence}; hints teach {} of the groups", percent(taught));
    }
    let rates = rates.filter(|_| stalled);
    if let Some((first, now)) = rates {
        evidence = format!("{evidence}; the pass rate went from {first:.2} to {now:.2}");
    }
    let mut measured = vec![(metrics::ROLLOUT_ALL_WRONG_FRAC, wrong)];
    measured.extend(hinted.map(|hinted| (metrics::HINT_HINTED_FRAC, hinted)));
    measured.extend(taught.map(|taught| (metrics::HINT_TAUGHT_FRAC, taught)));
    measured.extend(rates.map(|(_, now)| (metrics::ROLLOUT_PASS_RATE, now)));
    let found = Found { evidence, advice: advice(history, config), measured, since: None };
    Some(with_agreement(found, history))
}

/// Adds that completions agree, where they do.
fn with_agreement(mut found: Found, history: &History) -> Found {
    let collapsed = history.mean(metrics::ROLLOUT_COLLAPSED_FRAC);
    if let Some(collapsed) = collapsed.filter(|collapsed| *collapsed > AGREE) {
        let agree = percent(collapsed);
        found.evidence =
            format!("{}; {agree} of the all-wrong groups agree on one answer", found.evidence);
        found.advice += "; where all completions agree, the reference may be wrong (`hint-rl audit`), or the policy \
                         explores too little (`rollout.sampling.temperature`)";
    }
    found.measured.extend(collapsed.map(|share| (metrics::ROLLOUT_COLLAPSED_FRAC, share)));
    found
}

/// What helps, and is not done yet.
fn advice(history: &History, config: &GrpoConfig) -> String {
    let easier = match config.rollout.selection {
        _ if !redraws(config) => {
            "mix easier problems in, or draw others in place of groups without a signal (`rollout.dynamic_sampling`)"
        }
        ProblemSelection::Epochs => {
            "mix easier problems in, or draw problems more often that are solved sometimes (`rollout.selection`)"
        }
        _ => "or mix easier problems in",
    };
    if is_taught(config) {
        return advice_on_teaching(config, easier);
    }
    let is_hinted = history.mean(metrics::HINT_HINTED_FRAC).is_some_and(|hinted| hinted > 0.0);
    if is_hinted {
        "hints are too weak or wrong: check them with `hint-rl audit`, give more of them (`rollout.level`), or take \
         another `rollout.source`"
            .to_owned()
    } else if config.rollout.trigger == HintTrigger::Never {
        format!(
            "the problems are too hard; give hints (`rollout.source`, `rollout.trigger`), {easier}"
        )
    } else {
        format!(
            "the problems are too hard, and get no hint: look for problems without one (`hint-rl audit`), change \
             `rollout.source` or `rollout.trigger`, {easier}"
        )
    }
}

fn advice_on_teaching(config: &GrpoConfig, easier: &str) -> String {
    if config.loss.credit.form.ignores_zero_advantage() {
        return "the hint weighs advantages, and these groups have none: take another `loss.credit.form` or \
                `rollout.combine`, or mix easier problems in"
            .to_owned();
    }
    if config.rollout.source == HintSourceConfig::PeerSuccess {
        return format!(
            "a group without a success has no hint: take another `rollout.source`, {easier}"
        );
    }
    let hints = "hints reach few of the completions that they should teach: look for problems without one (`hint-rl \
                 audit`)";
    if config.rollout.leak_guard.action == LeakAction::Keep {
        return format!("{hints}, or change `rollout.source` or `rollout.trigger`");
    }
    format!(
        "{hints}, and set `rollout.leak_guard.action` to \"keep\", as the teacher alone sees them"
    )
}
