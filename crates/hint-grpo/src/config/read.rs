//! Reading a configuration: overrides of single keys, and unknown names with the nearest valid one.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::{ConfigError, GrpoConfig};
use crate::objective::ImportanceCorrection;

impl GrpoConfig {
    /// As [`GrpoConfig::from_toml`], after setting single keys: `run.steps=200`,
    /// `optimizer.schedule.decay.type=cosine`. A prefix `grpo.` is allowed. The value is TOML, or a
    /// text without quotes. Setting the `type` of a table drops its other keys, which belong to the
    /// type that was there. A table without a `type` changes keys of its default.
    ///
    /// `loss.importance_correction` truncates at 2 by default if `run.ahead` is not 0. It stays off where the ratio has the
    /// engine's log-probabilities, and where sampling truncates.
    ///
    /// ```
    /// use hint_grpo::GrpoConfig;
    ///
    /// let config = GrpoConfig::from_toml_with("run.seed = 3", ["grpo.run.steps=200"])?;
    /// assert_eq!((config.run.seed, config.run.steps), (3, 200));
    ///
    /// let error = GrpoConfig::from_toml_with("", ["run.stesp=200"]).unwrap_err();
    /// assert!(error.to_string().contains("did you mean `steps`?"));
    /// # Ok::<(), hint_grpo::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; unknown names and values out of range are all named at once.
    pub fn from_toml_with<'o>(
        text: &str,
        overrides: impl IntoIterator<Item = &'o str>,
    ) -> Result<Self, ConfigError> {
        let table = Value::Table(table(text, overrides)?);
        let corrects =
            table.get("loss").is_some_and(|loss| loss.get("importance_correction").is_some());
        let (mut config, mut violations) = read(table)?;
        if !corrects && config.wants_correction() {
            config.loss.importance_correction = ImportanceCorrection::AHEAD;
        }
        if let Err(ConfigError::Invalid(found)) = config.validate() {
            violations.extend(found);
        }
        if violations.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(violations)) }
    }
}

/// Whether a configuration in TOML, or one of the overrides of [`GrpoConfig::from_toml_with`], gives `key` a
/// value. An application uses it for defaults that depend on something else.
///
/// ```
/// use hint_grpo::config::is_given;
///
/// assert!(is_given("run = { seed = 3 }", [], "run.seed")?);
/// assert!(is_given("", ["grpo.run.seed=3"], "run")?);
/// assert!(!is_given("# run.seed is the default", [], "run.seed")?);
/// # Ok::<(), hint_grpo::ConfigError>(())
/// ```
///
/// # Errors
///
/// [`ConfigError::Syntax`].
pub fn is_given<'o>(
    text: &str,
    overrides: impl IntoIterator<Item = &'o str>,
    key: &str,
) -> Result<bool, ConfigError> {
    let whole = Value::Table(table(text, overrides)?);
    Ok(key.split('.').try_fold(&whole, |inner, part| inner.get(part)).is_some())
}

/// The keys of a configuration after the overrides.
fn table<'o>(
    text: &str,
    overrides: impl IntoIterator<Item = &'o str>,
) -> Result<Table, ConfigError> {
    let mut table = text.parse::<Table>().map_err(|error| syntax(&error))?;
    for item in overrides {
        set(&mut table, item)?;
    }
    Ok(table)
}

fn syntax(error: &toml::de::Error) -> ConfigError {
    ConfigError::Syntax { message: error.to_string().trim_end().to_owned() }
}

/// Sets one key, `path.to.key=value`.
fn set(table: &mut Table, item: &str) -> Result<(), ConfigError> {
    let invalid = |problem: &str| ConfigError::Syntax { message: format!("`{item}`: {problem}") };
    let (path, value) = item.split_once('=').ok_or_else(|| invalid("expected `key=value`"))?;
    let path = path.trim();
    let path = path.strip_prefix("grpo.").unwrap_or(path);
    let value = value.trim();
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut keys = path.split('.').collect::<Vec<_>>();
    let Some(last) = keys.pop().filter(|key| !key.is_empty()) else {
        return Err(invalid("expected a key before `=`"));
    };
    let mut inner = table;
    for key in keys {
        inner = match inner.entry(key).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(table) => table,
            _ => return Err(invalid(&format!("`{key}` is a value, not a table"))),
        };
    }
    if last == "type" && inner.get("type") != Some(&value) {
        inner.clear();
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

/// A step from a value to one inside it.
#[derive(Clone)]
enum Step {
    Key(String),
    Item(usize),
}

/// Reads everything that can be read, and names the rest.
fn read(mut table: Value) -> Result<(GrpoConfig, Vec<String>), ConfigError> {
    let default = Value::try_from(GrpoConfig::default())
        .map_err(|error| ConfigError::Syntax { message: error.to_string() })?;
    take_default_choices(&mut table, &default);
    let mut refused = Vec::new();
    let config = loop {
        let error = match table.clone().try_into::<GrpoConfig>() {
            Ok(config) => break config,
            Err(error) => error,
        };
        let path = culprit(&table, error.message());
        if path.is_empty() {
            return Err(syntax(&error));
        }
        let is_name = is_name(&table, &path, error.message());
        remove(&mut table, &path);
        refused.push((path, is_name, error));
    };
    // Every key of the choices that were made, with those that are not set.
    let known = serde_json::json!(config);
    let describe = |(path, is_name, error): (Vec<Step>, bool, toml::de::Error)| {
        let written = written(&path);
        let nearest = match path.split_last() {
            // What was refused as a whole stands in `known` as its default.
            Some((Step::Key(key), outer)) if is_name && at(&mut table, outer).is_some() => {
                inside(&known, outer).map(|known| unknown_key(key, known))
            }
            _ => None,
        };
        let serde = || error.message().lines().next().unwrap_or_default().to_owned();
        format!("{written}: {}", nearest.unwrap_or_else(serde))
    };
    let violations = refused.into_iter().map(describe).collect();
    Ok((config, violations))
}

/// Adds the `type` of the default where a table lacks it, with the default's other keys that are not given. So
/// `loss.objective.clip_high` alone changes the default objective.
fn take_default_choices(value: &mut Value, default: &Value) {
    let (Value::Table(table), Value::Table(default)) = (value, default) else { return };
    if default.contains_key("type") {
        if !table.contains_key("type") {
            for (key, value) in default {
                table.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        if table.get("type") != default.get("type") {
            return;
        }
    }
    for (key, value) in table.iter_mut() {
        if let Some(default) = default.get(key) {
            take_default_choices(value, default);
        }
    }
}

/// The innermost place without which the reader has another complaint, or none. It reads in order, so places behind are
/// taken out first. A choice that cannot be read is blamed as a whole, not by its `type`.
fn culprit(table: &Value, message: &str) -> Vec<Step> {
    let mut kept = table.clone();
    let mut path = Vec::new();
    loop {
        let steps = at(&mut kept, &path).map_or_else(Vec::new, |value| steps(value));
        let blamed = steps.into_iter().rev().find(|step| {
            let mut without = kept.clone();
            remove(&mut without, &[path.as_slice(), std::slice::from_ref(step)].concat());
            let is_quiet = !complains(&without, message);
            if !is_quiet {
                kept = without;
            }
            is_quiet
        });
        match blamed {
            Some(step) => path.push(step),
            None => return path,
        }
    }
}

/// Whether the reader refuses the name of a key: its complaint is the same for other values.
fn is_name(table: &Value, path: &[Step], message: &str) -> bool {
    [Value::Boolean(true), Value::Array(Vec::new())].into_iter().all(|other| {
        let mut changed = table.clone();
        at(&mut changed, path).is_some_and(|value| {
            *value = other;
            true
        }) && complains(&changed, message)
    })
}

fn complains(table: &Value, message: &str) -> bool {
    table.clone().try_into::<GrpoConfig>().is_err_and(|error| error.message() == message)
}

/// The steps into a value, in the order in which it is read.
fn steps(value: &Value) -> Vec<Step> {
    match value {
        Value::Table(table) => {
            table.keys().filter(|key| *key != "type").cloned().map(Step::Key).collect()
        }
        Value::Array(items) => (0..items.len()).map(Step::Item).collect(),
        _ => Vec::new(),
    }
}

fn at<'v>(table: &'v mut Value, path: &[Step]) -> Option<&'v mut Value> {
    path.iter().try_fold(table, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Item(index) => value.get_mut(*index),
    })
}

/// The keys of a table that was read.
fn inside<'v>(known: &'v Json, path: &[Step]) -> Option<&'v serde_json::Map<String, Json>> {
    let table = path.iter().try_fold(known, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Item(index) => value.get(index),
    });
    table?.as_object()
}

/// Takes a key out; of a list also what stands behind, so that no other place changes its index.
fn remove(table: &mut Value, path: &[Step]) {
    let Some((last, outer)) = path.split_last() else { return };
    match (at(table, outer), last) {
        (Some(Value::Table(table)), Step::Key(key)) => drop(table.remove(key)),
        (Some(Value::Array(items)), Step::Item(index)) => items.truncate(*index),
        _ => {}
    }
}

/// A path as errors write it: `loss.hinted_weight[0].max`.
fn written(path: &[Step]) -> String {
    path.iter().fold(String::new(), |outer, step| match step {
        Step::Key(key) if outer.is_empty() => key.clone(),
        Step::Key(key) => format!("{outer}.{key}"),
        Step::Item(index) => format!("{outer}[{index}]"),
    })
}

fn unknown_key(key: &str, known: &serde_json::Map<String, Json>) -> String {
    let nearest = known
        .keys()
        .map(|valid| (strsim::damerau_levenshtein(key, valid), valid))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, valid)| *distance <= valid.len().max(key.len()) / 2);
    match nearest {
        Some((_, nearest)) => format!("unknown key `{key}`; did you mean `{nearest}`?"),
        None => format!("unknown key `{key}`"),
    }
}
