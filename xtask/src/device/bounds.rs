//! The bounds on the cost of a step.

use anyhow::{Context, Result, bail, ensure};
use toml::Table;

use super::log::Counts;
use crate::process::read;
use hint_libtorch::Host;

const TABLE: &str = "device/bounds.toml";

/// Compares the cost of steps with the table, and prints both.
pub(super) fn check(host: &Host, measured: &[(String, Counts)]) -> Result<()> {
    let text = read(&host.repo.join(TABLE))?;
    let bounds: Table =
        toml::from_str(&text).with_context(|| format!("`{TABLE}` is not a table of bounds"))?;
    let mut broken = 0;
    for (name, counts) in measured {
        eprintln!("{name:34} {counts}");
        for finding in compare(name, *counts, &bounds)? {
            eprintln!("{finding}");
            broken += usize::from(finding.broken);
        }
    }
    if broken > 0 {
        bail!("{broken} counts are above the bounds of `{TABLE}`");
    }
    Ok(())
}

struct Finding {
    text: String,
    broken: bool,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "  {}", self.text)
    }
}

fn compare(name: &str, counts: Counts, bounds: &Table) -> Result<Vec<Finding>> {
    let bound = |what: &str| {
        let bound = bounds.get(name).and_then(|bounds| bounds.get(what)).map(number);
        bound.flatten().with_context(|| format!("`{TABLE}` has no number `{what}` of `{name}`"))
    };
    ensure!(counts.each().iter().all(|(_, count)| *count >= 0.0), "`{name}` counts {counts}");
    let mut findings = Vec::new();
    for (what, count) in counts.each() {
        let bound = bound(what)?;
        // Counts of one step are quotients.
        let count = (count * 100.0).round() / 100.0;
        if count > bound {
            let text = format!("{what}: {count} is above {bound}");
            findings.push(Finding { text, broken: true });
        } else if count < bound * 0.95 {
            let text = format!("{what}: {count} is below {bound}; lower the bound");
            findings.push(Finding { text, broken: false });
        }
    }
    Ok(findings)
}

fn number(value: &toml::Value) -> Option<f64> {
    value.as_float().or_else(|| value.to_string().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_above_their_bound_are_broken_and_those_below_are_told() {
        let bounds = "[step]\nlaunches = 10\nwaits = 1\nsent = 100\nread = 8.5".parse().unwrap();
        let counts = Counts { launches: 11.0, waits: 1.004, sent: 50.0, read: 8.5 };
        let findings = compare("step", counts, &bounds).unwrap();
        let broken: Vec<bool> = findings.iter().map(|finding| finding.broken).collect();
        assert_eq!(broken, [true, false]);
        assert!(compare("other", counts, &bounds).is_err());
    }
}
