//! The arms of the reproduction: a preset, and its changes.

use anyhow::{Context, Result, bail};
use hint_grpo::GrpoConfig;
use serde::Serialize;

use crate::presets;
use crate::train::{Method, MethodKind};

/// Source of an arm's definition, or of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// HINT's paper compares it.
    Paper,
    /// The reference code of HINT has it.
    Code,
    /// This repository adds it.
    Ours,
}

impl Origin {
    /// The word that marks it.
    pub(super) const fn mark(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Code => "code",
            Self::Ours => "ours",
        }
    }
}

/// A table of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Section {
    /// T1 and T2: methods.
    Methods,
    /// T3: the parts of HINT.
    Ablation,
    /// C1: the prompts of the ratio, and the rewards of the baseline.
    Ratio,
    /// C2: hints that should not help, beside those that should.
    Placebo,
    /// C3: sampling under the hint, scoring under it, or both.
    Teaching,
}

/// One arm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    pub(super) name: &'static str,
    /// The preset, or `sft`.
    preset: &'static str,
    /// Keys that differ from it.
    set: &'static [&'static str],
    pub(super) origin: Origin,
    sections: &'static [Section],
}

impl Arm {
    /// Whether a table has it. Controls that are sampled under are in every table. Those that teach are in the tables of
    /// teaching hints.
    pub(super) fn is_in(&self, section: Section) -> bool {
        self.sections.contains(&section) || (self.is_control() && !self.set.contains(&TEACH))
    }

    /// Whether its hints should not help: those of other problems, or unrelated text.
    pub(super) fn is_control(&self) -> bool {
        self.set.iter().any(|key| [PLACEBO, UNRELATED].contains(key))
    }

    /// Whether it learns from demonstrations and samples nothing.
    pub(super) fn is_supervised(&self) -> bool {
        self.preset == SFT
    }

    /// Whether the presets that it needs exist.
    pub(super) fn is_available(&self) -> bool {
        self.preset == SFT || presets::text(self.preset).is_ok()
    }

    /// The method to train with.
    pub(super) fn method(&self) -> Result<Method> {
        let kind = if self.preset == SFT {
            MethodKind::Supervised
        } else {
            let text = presets::text(self.preset)?;
            let config = GrpoConfig::from_toml_with(text, self.set.iter().copied());
            let config = config.with_context(|| format!("arm `{}`", self.name))?;
            MethodKind::Preset(Box::new(config))
        };
        Ok(Method { name: self.name.to_owned(), kind })
    }
}

const SFT: &str = "sft";

const fn arm(
    name: &'static str,
    preset: &'static str,
    set: &'static [&'static str],
    origin: Origin,
    sections: &'static [Section],
) -> Arm {
    Arm { name, preset, set, origin, sections }
}

use Origin::{Code, Ours, Paper};
use Section::{Ablation, Methods, Placebo, Ratio, Teaching};

const TEACH: &str = "rollout.combine={ type = 'teach' }";
const BOTH: &str = "rollout.combine={ type = 'teach', samples = true }";

/// Every arm, in the order of the tables. The others are compared with the first one.
pub(super) const ARMS: &[Arm] = &[
    arm("grpo", "grpo", &[], Paper, &[Methods, Ablation, Ratio, Placebo, Teaching]),
    arm("dapo", "dapo", &[], Ours, &[Methods]),
    arm("sft", SFT, &[], Paper, &[Methods]),
    arm("sft_then_grpo", "sft_then_grpo", &[], Ours, &[Methods]),
    arm("answer_hint", "answer_hint", &[], Paper, &[Methods]),
    arm("bread", "bread", &[], Paper, &[Methods]),
    arm("luffy", "luffy", &[], Paper, &[Methods]),
    arm("relift", "relift", &[], Ours, &[Methods]),
    arm("hint", "hint", &[], Paper, &[Methods, Ablation, Ratio, Placebo, Teaching]),
    arm("opsd", "opsd", &[], Ours, &[Methods, Teaching]),
    arm("sdpo", "sdpo", &[], Ours, &[Methods, Teaching]),
    // `sdpo` shows a success to itself as well, which teaches it to copy. Here successes have the group's advantage.
    arm("sdpo_wrong", "sdpo", &[WRONG], Ours, &[Methods, Teaching]),
    arm("rlsd", "rlsd", &[], Ours, &[Methods, Teaching]),
    arm("hdpo", "hdpo", &[], Ours, &[Methods, Teaching]),
    arm("hint_medium", "hint", &[MEDIUM], Paper, &[Ablation]),
    arm("hint_direct", "hint", &[DIRECT], Paper, &[Ablation]),
    arm("hint_always", "hint", &[ALWAYS], Paper, &[Ablation]),
    arm("hint_lambda_0", "hint", &["loss.hinted_weight=[]"], Paper, &[Ablation]),
    arm("hint_lambda_half", "hint", &[HALF], Ours, &[Ablation]),
    arm("hint_lambda_2", "hint", &[TWO], Ours, &[Ablation]),
    arm("hint_v1", "hint_v1_affinity", &[], Code, &[Ablation]),
    arm("hint_hinted_ratio", "hint", &["loss.ratio_scheme={ type = 'hinted' }"], Ours, &[Ratio]),
    arm("hint_off_context", "hint", &[OFF_CONTEXT], Ours, &[Ratio]),
    arm("hint_union", "hint", &[UNION], Ours, &[Ratio]),
    arm("hint_placebo", "hint", &[PLACEBO], Ours, &[Placebo]),
    arm("hint_unrelated", "hint", &[UNRELATED], Ours, &[Placebo]),
    arm("teach", "hint", &[TEACH], Ours, &[Placebo, Teaching]),
    arm("teach_medium", "hint", &[TEACH, MEDIUM], Ours, &[Teaching]),
    arm("teach_direct", "hint", &[TEACH, DIRECT], Ours, &[Teaching]),
    arm("teach_always", "hint", &[TEACH, ALWAYS], Ours, &[Teaching]),
    arm("hint_and_teach", "hint", &[BOTH], Ours, &[Teaching]),
    arm("teach_placebo", "hint", &[TEACH, PLACEBO], Ours, &[Placebo, Teaching]),
    arm("teach_unrelated", "hint", &[TEACH, UNRELATED], Ours, &[Placebo, Teaching]),
];

const WRONG: &str = "rollout.combine={ type = 'teach', completions = 'wrong' }";
const ALWAYS: &str = "rollout.trigger={ type = 'always' }";
const PLACEBO: &str = "rollout.source={ type = 'placebo' }";
const UNRELATED: &str = "rollout.source={ type = 'unrelated' }";
const OFF_CONTEXT: &str = "loss.ratio_scheme={ type = 'off_context' }";
const MEDIUM: &str = "rollout.source={ type = 'dataset', columns = ['medium_hint'] }";
const DIRECT: &str = "rollout.source={ type = 'dataset', columns = ['direct_hint'] }";
const HALF: &str =
    "loss.hinted_weight=[{ type = 'affinity', exponent = 0.5, variant = { type = 'weighted' } }]";
const TWO: &str =
    "loss.hinted_weight=[{ type = 'affinity', exponent = 2.0, variant = { type = 'weighted' } }]";
const UNION: &str = "advantage={ type = 'group_normalized', baseline = { type = 'union' } }";

/// The arms with these names, in the order of the tables; all that can run without names.
///
/// # Errors
///
/// An unknown name, or the name of a missing preset.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Arm>> {
    if names.is_empty() {
        return Ok(ARMS.iter().filter(|arm| arm.is_available()).collect());
    }
    for name in names {
        match ARMS.iter().find(|arm| arm.name == name) {
            None => {
                let known = ARMS.iter().map(|arm| arm.name).collect::<Vec<_>>().join(", ");
                bail!("there is no arm `{name}`; arms are {known}");
            }
            Some(arm) if !arm.is_available() => {
                bail!("arm `{name}` needs the preset `{}`, which does not exist yet", arm.preset);
            }
            Some(_) => {}
        }
    }
    Ok(ARMS.iter().filter(|arm| names.iter().any(|name| name == arm.name)).collect())
}
