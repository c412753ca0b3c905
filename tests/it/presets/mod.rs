//! Every preset follows one all-wrong group. See [`follow`] for the script.

use hint_grpo::GrpoConfig;

mod follow;
mod never_helped;
mod off_context;
mod on_hinted_prompt;
mod on_plain_prompt;
mod taught;
mod with_demonstrations;

/// The text of a preset.
macro_rules! preset {
    ($name:literal) => {
        include_str!(concat!("../../../examples/configs/", $name, ".toml"))
    };
}
pub(crate) use preset;

/// Advantage of a success in a group with as many successes as failures, by (ADV-1). The sample
/// deviation of 1, 0, 1, 0 is `sqrt(1/3)`.
pub(crate) fn advantage() -> f64 {
    0.5 / ((1.0_f64 / 3.0).sqrt() + 1e-4)
}

#[test]
fn the_preset_of_hint_is_the_default() {
    let hint = GrpoConfig::from_toml(preset!("hint")).expect("the preset is valid");
    assert_eq!(hint, GrpoConfig::default());
}
