//! Presets in which an all-wrong group teaches nothing.

use super::follow::{PLAIN, assert_gradient, follow};
use super::preset;

#[test]
fn grpo_learns_nothing_from_an_all_wrong_group() {
    let followed = follow(preset!("grpo"), 1, |_| true);
    assert_eq!(followed.prompts, [PLAIN]);
    assert!(followed.scored.is_empty() && followed.trained.is_empty());
    assert_gradient(&followed, &[], 0.9);
}

#[test]
fn dapo_learns_nothing_from_an_all_wrong_group() {
    let followed = follow(preset!("dapo"), 1, |_| true);
    // Dynamic sampling draws again, ten times in all, and then continues without a group.
    assert_eq!(followed.prompts, [PLAIN; 10]);
    assert!(followed.scored.is_empty() && followed.trained.is_empty());
    assert!(followed.gradient.is_empty(), "no optimizer step is taken");
}

#[test]
fn hint_learns_nothing_when_the_hint_does_not_help() {
    let followed = follow(preset!("hint"), 1, |_| false);
    assert_eq!(followed.prompts.len(), 2);
    assert!(followed.trained.is_empty(), "no training slot is spent");
    assert_gradient(&followed, &[], 0.9);
}
