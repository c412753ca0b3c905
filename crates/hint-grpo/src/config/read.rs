//! Reading a configuration: overrides of single keys, and unknown names with the nearest valid one.

use toml::{Table, Value};

use super::{ConfigError, GrpoConfig};

impl GrpoConfig {
    /// As [`GrpoConfig::from_toml`], after setting single keys: `run.steps=200`,
    /// `optimizer.schedule.decay.type=cosine`. A prefix `grpo.` is allowed. The value is TOML, or a
    /// text without quotes. Setting the `type` of a table drops its other keys, which belong to the
    /// type that was there.
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
        let mut table = text.parse::<Table>().map_err(|error| syntax(&error))?;
        for item in overrides {
            set(&mut table, item)?;
        }
        let mut violations = Vec::new();
        loop {
            let error = match Value::Table(table.clone()).try_into::<Self>() {
                Ok(config) => {
                    if let Err(ConfigError::Invalid(found)) = config.validate() {
                        violations.extend(found);
                    }
                    let invalid = !violations.is_empty();
                    return if invalid {
                        Err(ConfigError::Invalid(violations))
                    } else {
                        Ok(config)
                    };
                }
                Err(error) => error,
            };
            let unknown = Unknown::parse(error.message());
            let Some((unknown, path)) = unknown.and_then(|unknown| {
                let path = unknown.locate(&table, error.message())?;
                Some((unknown, path))
            }) else {
                if !violations.is_empty() {
                    violations.push(error.message().to_owned());
                    return Err(ConfigError::Invalid(violations));
                }
                // The text's own parser knows the line.
                return Err(toml::from_str::<Self>(text)
                    .map_or_else(|error| syntax(&error), |_| syntax(&error)));
            };
            violations.push(format!("{}: {}", path.join("."), unknown.message()));
            remove(&mut table, unknown.removed(&path));
        }
    }
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

/// A name that the configuration does not know.
#[derive(Debug)]
struct Unknown {
    /// Whether it is a key, not the name of a choice.
    key: bool,
    name: String,
    valid: Vec<String>,
}

impl Unknown {
    /// Reads serde's "unknown field `x`, expected one of `a`, `b`".
    fn parse(message: &str) -> Option<Self> {
        let key = message.starts_with("unknown field");
        if !key && !message.starts_with("unknown variant") {
            return None;
        }
        let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
        Some(Self { key, name: quoted.next()?, valid: quoted.collect() })
    }

    fn message(&self) -> String {
        let what = if self.key { "unknown key" } else { "unknown name" };
        let name = &self.name;
        let nearest = self
            .valid
            .iter()
            .map(|valid| (strsim::damerau_levenshtein(name, valid), valid))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, valid)| *distance <= valid.len().max(name.len()) / 2);
        match nearest {
            Some((_, nearest)) => format!("{what} `{name}`; did you mean `{nearest}`?"),
            None if self.valid.is_empty() => format!("{what} `{name}`; nothing can be set here"),
            None => format!("{what} `{name}`; valid are `{}`", self.valid.join("`, `")),
        }
    }

    /// Where the name is: the place without which the reader complains about something else.
    fn locate(&self, table: &Table, message: &str) -> Option<Vec<String>> {
        let mut candidates = Vec::new();
        self.search(table, &mut Vec::new(), &mut candidates);
        candidates.into_iter().find(|path| {
            let mut without = table.clone();
            remove(&mut without, self.removed(path));
            let rest = Value::Table(without).try_into::<GrpoConfig>();
            rest.map_or_else(|error| error.message() != message, |_| true)
        })
    }

    fn search(&self, table: &Table, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        for (key, value) in table {
            path.push(key.clone());
            let named =
                if self.key { *key == self.name } else { value.as_str() == Some(&self.name) };
            if named {
                found.push(path.clone());
            }
            if let Value::Table(inner) = value {
                self.search(inner, path, found);
            }
            path.pop();
        }
    }

    /// What to leave out so that the rest can be read: a choice goes with all its keys.
    fn removed<'p>(&self, path: &'p [String]) -> &'p [String] {
        match path.split_last() {
            Some((last, outer)) if !self.key && last == "type" && !outer.is_empty() => outer,
            _ => path,
        }
    }
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
