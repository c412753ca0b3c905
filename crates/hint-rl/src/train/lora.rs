//! The `--lora` option.

use anyhow::{Context, Result, bail};
use hint_policy::LoraConfig;

/// Parses `rank=16,alpha=32,dropout=0.05,targets=q_proj+v_proj,rank_stabilized=true`; missing keys
/// have the default. Alpha is twice the rank unless it is given.
///
/// # Errors
///
/// An unknown key, a value that does not parse or is out of range.
pub(crate) fn parse(text: &str) -> Result<LoraConfig> {
    let mut config = LoraConfig::default();
    let mut alpha = None;
    for entry in text.split(',').filter(|entry| !entry.is_empty()) {
        let (key, value) = entry
            .split_once('=')
            .with_context(|| format!("`{entry}` in --lora is no KEY=VALUE"))?;
        let bad = || format!("`{value}` is no value of `{key}` in --lora");
        match key {
            "rank" => config.rank = value.parse().with_context(bad)?,
            "alpha" => alpha = Some(value.parse().with_context(bad)?),
            "dropout" => config.dropout = value.parse().with_context(bad)?,
            "targets" => config.target_modules = value.split('+').map(str::to_owned).collect(),
            "rank_stabilized" => config.rank_stabilized = value.parse().with_context(bad)?,
            _ => bail!(
                "`{key}` in --lora is unknown; known: rank, alpha, dropout, targets, rank_stabilized"
            ),
        }
    }
    config.alpha = alpha.unwrap_or(2.0 * config.rank as f64);
    config.validate()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_mistakes_named() {
        let config = parse("rank=4,targets=q_proj+v_proj,dropout=0.1").expect("valid");
        assert_eq!((config.rank, config.alpha, config.dropout), (4, 8.0, 0.1));
        assert_eq!(config.target_modules, ["q_proj", "v_proj"]);
        for (text, word) in
            [("rnk=4", "rnk"), ("rank=x", "rank"), ("rank", "rank"), ("rank=0", "rank")]
        {
            let error = format!("{:#}", parse(text).expect_err("a mistake"));
            assert!(error.contains(word), "{error}");
        }
    }
}
