//! Parameter groups by name.

use hint_policy::Parameter;
use serde::{Deserialize, Serialize};

use crate::error::GrpoError;

/// Other settings for the parameters whose names match a pattern.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// Name in the checkpoint, in which `*` stands for any characters: `"model.layers.*.mlp.*"`.
    pub pattern: String,
    /// Whether the parameters keep their values.
    #[serde(default)]
    pub frozen: bool,
    /// Factor on the learning rate. Positive.
    #[serde(default = "one")]
    pub lr_multiplier: f64,
    /// Weight decay in place of the algorithm's. Not negative.
    #[serde(default)]
    pub weight_decay: Option<f64>,
}

const fn one() -> f64 {
    1.0
}

/// A parameter with the settings of its group.
#[derive(Debug)]
pub struct GroupedParameter {
    /// The parameter.
    pub parameter: Parameter,
    /// Factor on the learning rate.
    pub lr_multiplier: f64,
    /// Weight decay in place of the algorithm's.
    pub weight_decay: Option<f64>,
}

impl From<Parameter> for GroupedParameter {
    fn from(parameter: Parameter) -> Self {
        Self { parameter, lr_multiplier: 1.0, weight_decay: None }
    }
}

impl GroupedParameter {
    /// The group's weight decay, else `default` for matrices and none for vectors (norms, biases).
    pub(super) fn decay(&self, default: f64) -> f64 {
        let matrix = self.parameter.tensor.dim() >= 2;
        self.weight_decay.unwrap_or(if matrix { default } else { 0.0 })
    }
}

/// Gives each parameter the settings of the first group that it matches. Frozen parameters are left
/// out and require no gradient any more.
///
/// # Errors
///
/// [`GrpoError::ParameterGroup`] for a pattern that matches nothing, and when everything is frozen.
pub fn group_parameters(
    parameters: Vec<Parameter>,
    groups: &[ParameterGroup],
) -> Result<Vec<GroupedParameter>, GrpoError> {
    for group in groups {
        if !parameters.iter().any(|parameter| matches(&group.pattern, &parameter.name)) {
            let example = parameters.first().map_or("", |parameter| &parameter.name);
            return Err(GrpoError::ParameterGroup {
                pattern: group.pattern.clone(),
                problem: format!("matches no parameter; the first one is named `{example}`"),
            });
        }
    }
    let mut grouped = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        let group = groups.iter().find(|group| matches(&group.pattern, &parameter.name));
        match group {
            Some(group) if group.frozen => {
                let _ = parameter.tensor.set_requires_grad(false);
            }
            Some(group) => grouped.push(GroupedParameter {
                parameter,
                lr_multiplier: group.lr_multiplier,
                weight_decay: group.weight_decay,
            }),
            None => grouped.push(parameter.into()),
        }
    }
    if grouped.is_empty() {
        let pattern = groups.first().map_or_else(String::new, |group| group.pattern.clone());
        let problem = "freezes what the other groups leave, so that nothing trains".to_owned();
        return Err(GrpoError::ParameterGroup { pattern, problem });
    }
    Ok(grouped)
}

/// Whether `name` is `pattern`, in which `*` stands for any characters.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts = parts.collect::<Vec<_>>();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        assert!(matches("model.norm.weight", "model.norm.weight"));
        assert!(!matches("model.norm", "model.norm.weight"));
        assert!(matches("model.norm*", "model.norm.weight"));
        assert!(matches("*.mlp.*", "model.layers.3.mlp.up_proj.weight"));
        assert!(matches("model.*.mlp.*.weight", "model.layers.3.mlp.up_proj.weight"));
        assert!(!matches("model.*.attn.*", "model.layers.3.mlp.up_proj.weight"));
        assert!(!matches("ab*ba", "aba"));
        assert!(matches("*", "anything"));
    }
}
