//! Reading a configuration: overrides of single keys, and unknown names with the nearest valid one.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::{ConfigError, GrpoConfig};
use crate::objective::ImportanceCorrection;

impl GrpoConfig {
    /// As [`GrpoConfig::from_toml`], after setting single keys: `run.steps=200`,
    /// `optimizer.schedule.decay.type=cosine`. A prefix `grpo.` is allowed. The value is TOML, or a
    /// text without quotes. Setting the `type` of a table drops its other keys, which belong to the
    /// type that was there.
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
        let mut table = table(text, overrides)?;
        // With an entry in the one table that is left out while it is empty.
        let custom_parts = std::iter::once(Default::default()).collect();
        let known = Self { custom_parts, ..Self::default() };
        let known = serde_json::json!(known);
        let mut violations = Vec::new();
        drop_unknown(&mut table, &known, "", &mut violations);
        let mut config = loop {
            match Value::Table(table.clone()).try_into::<Self>() {
                Ok(config) => break config,
                Err(error) => {
                    let Some(path) = culprit(&table, error.message()) else {
                        return Err(syntax(&error));
                    };
                    let message = error.message().lines().next().unwrap_or_default();
                    violations.push(format!("{}: {message}", path.join(".")));
                    remove(&mut table, &path);
                }
            }
        };
        let corrects =
            table.get("loss").is_some_and(|loss| loss.get("importance_correction").is_some());
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

/// Takes out every key that `known`, the default written out, does not have. A choice with another `type`
/// than the default's has other keys, which only its own reader checks.
fn drop_unknown(table: &mut Table, known: &Json, path: &str, violations: &mut Vec<String>) {
    let Json::Object(known) = known else { return };
    let names_other = table
        .get("type")
        .is_some_and(|found| found.as_str() != known.get("type").and_then(Json::as_str));
    if names_other {
        return;
    }
    let unknown = |key: &&String| !known.contains_key(*key) && !is_open(path);
    for key in table.keys().filter(unknown).cloned().collect::<Vec<_>>() {
        table.remove(&key);
        violations.push(format!("{path}{key}: {}", unknown_key(&key, known.keys())));
    }
    for (key, value) in table.iter_mut() {
        if let (Value::Table(inner), Some(known)) = (value, known.get(key)) {
            drop_unknown(inner, known, &format!("{path}{key}."), violations);
        }
    }
}

/// Whether the keys of a table are the user's own.
fn is_open(path: &str) -> bool {
    matches!(path, "custom_parts." | "model.chat_template_kwargs." | "rollout.selection.weights.")
}

fn unknown_key<'k>(key: &str, known: impl Iterator<Item = &'k String>) -> String {
    let nearest = known
        .map(|valid| (strsim::damerau_levenshtein(key, valid), valid))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, valid)| *distance <= valid.len().max(key.len()) / 2);
    match nearest {
        Some((_, nearest)) => format!("unknown key `{key}`; did you mean `{nearest}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// The innermost key without which the reader complains about something else. A choice that cannot be
/// read is blamed as a whole, not by its `type`.
fn culprit(table: &Table, message: &str) -> Option<Vec<String>> {
    let complains = |path: &[String]| {
        let mut without = table.clone();
        remove(&mut without, path);
        let read = Value::Table(without).try_into::<GrpoConfig>();
        read.is_err_and(|error| error.message() == message)
    };
    let mut path = Vec::new();
    let mut inner = table;
    loop {
        let blamed = inner.keys().filter(|key| *key != "type").find(|key| {
            let candidate = [path.as_slice(), &[(*key).clone()]].concat();
            !complains(&candidate)
        });
        let Some(key) = blamed else { break };
        path.push(key.clone());
        match inner.get(key) {
            Some(Value::Table(next)) => inner = next,
            _ => break,
        }
    }
    (!path.is_empty()).then_some(path)
}

fn remove(table: &mut Table, path: &[String]) {
    let Some((last, outer)) = path.split_last() else { return };
    let mut inner = table;
    for key in outer {
        match inner.get_mut(key) {
            Some(Value::Table(table)) => inner = table,
            _ => return,
        }
    }
    inner.remove(last);
}
