//! The book's page of configuration keys is made from the types: their fields, doc comments, variants and nesting.
//!
//! Defaults are those of the file in `docs/configuration.md`, which a test of `hint-grpo` compares with the code.
//! `cargo xtask bless` writes the page.

use std::collections::BTreeMap;

use syn::{Attribute, Expr, Fields, GenericArgument, Lit, Meta, PathArguments, Type};

use super::markdown::Markdown;
use super::tree::Tree;

/// The type that a configuration file is read into.
const ROOT: &str = "GrpoConfig";
const PAGE: &str = "docs/keys.md";
const DEFAULTS: &str = "docs/configuration.md";

/// In place of a default.
const UNSET: &str = "–";

const HEAD: &str = "# Keys\n\n<!-- Written by `cargo xtask bless` from the types of the configuration. -->\n\n\
    Every key of a configuration, with its default. [Configuration](configuration.md) shows the same keys as one file, and \
    explains how they work together. An optional key without a default is not set. A table with a `type` has the keys of \
    that type.\n";

/// The page.
pub(super) fn written(tree: &Tree) -> Vec<(String, String)> {
    tree.file(DEFAULTS).map(|_| (PAGE.to_owned(), page(tree))).into_iter().collect()
}

fn page(tree: &Tree) -> String {
    let text = tree.file(DEFAULTS).map_or("", |file| &file.text);
    let block = Markdown::parse(text).code.into_iter().find(|(_, language, _)| language == "toml");
    let defaults = block.and_then(|(_, _, text)| text.parse().ok()).unwrap_or_default();
    let mut page = Page { types: types(tree), defaults, text: HEAD.to_owned(), shared: Vec::new() };
    if let Some(Kind::Table(fields)) = page.types.get(ROOT).cloned() {
        for field in fields {
            page.section(&field.key, &field);
        }
    }
    // A shared type may name further ones.
    let mut at = 0;
    while let Some(name) = page.shared.get(at).cloned() {
        page.shared(&name);
        at += 1;
    }
    page.text
}

/// A type of the configuration.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A struct.
    Table(Vec<Field>),
    /// An enum: variants, and whether the key `type` tells them apart.
    Choice(Vec<Variant>, bool),
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    key: String,
    about: String,
    /// The type without `Option`, `Vec` and `Box`.
    inner: String,
}

#[derive(Debug, Clone)]
pub(super) struct Variant {
    name: String,
    about: String,
    fields: Vec<Field>,
}

/// The types that are read, by name.
pub(super) type Types = BTreeMap<String, Kind>;

/// Whether there is a table or a key at `path`. A table with a `type` has the keys of all its types.
pub(super) fn has_key(types: &Types, path: &str) -> bool {
    let mut tables = vec![ROOT.to_owned()];
    path.split('.').all(|part| {
        let of = |table: &String| keys(types, table).into_iter().filter(|(key, _)| key == part);
        tables = tables.iter().flat_map(of).map(|(_, inner)| inner).collect();
        !tables.is_empty()
    })
}

/// The keys of a type, each with its own type.
fn keys(types: &Types, name: &str) -> Vec<(String, String)> {
    let (fields, is_tagged) = match types.get(name) {
        Some(Kind::Table(fields)) => (fields.clone(), false),
        Some(Kind::Choice(variants, is_tagged)) => {
            (variants.iter().flat_map(|one| one.fields.clone()).collect(), *is_tagged)
        }
        None => (Vec::new(), false),
    };
    let keys = fields.into_iter().flat_map(|Field { key, inner, .. }| match key.as_str() {
        // A variant that holds a table has the keys of the table.
        "" => keys(types, &inner),
        _ if inner == "Self" => vec![(key, name.to_owned())],
        _ => vec![(key, inner)],
    });
    keys.chain(is_tagged.then(|| ("type".to_owned(), String::new()))).collect()
}

pub(super) fn types(tree: &Tree) -> Types {
    let mut types = BTreeMap::new();
    for file in tree.rust(&["crates/"]).filter(|file| file.path.contains("/src/")) {
        let Ok(parsed) = syn::parse_file(&file.text) else { continue };
        for item in parsed.items {
            match item {
                syn::Item::Struct(item) if is_read(&item.attrs) => {
                    types.insert(item.ident.to_string(), Kind::Table(fields(&item.fields)));
                }
                syn::Item::Enum(item) if is_read(&item.attrs) => {
                    let variants = item.variants.iter().map(|variant| Variant {
                        name: renamed(&variant.attrs)
                            .unwrap_or_else(|| snake(&variant.ident.to_string())),
                        about: about(&variant.attrs),
                        fields: fields(&variant.fields),
                    });
                    let kind = Kind::Choice(variants.collect(), has_serde(&item.attrs, "tag"));
                    types.insert(item.ident.to_string(), kind);
                }
                _ => {}
            }
        }
    }
    types
}

fn is_read(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("derive") && list.tokens.to_string().contains("Deserialize")
    })
}

fn serde(attributes: &[Attribute]) -> impl Iterator<Item = String> {
    attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("serde") => Some(list.tokens.to_string()),
        _ => None,
    })
}

fn has_serde(attributes: &[Attribute], word: &str) -> bool {
    serde(attributes).any(|tokens| {
        tokens.split(|c: char| !c.is_alphanumeric() && c != '_').any(|one| one == word)
    })
}

/// The name in `rename = "name"`.
fn renamed(attributes: &[Attribute]) -> Option<String> {
    serde(attributes).find_map(|tokens| {
        let rest = tokens.split_once("rename = \"")?.1;
        Some(rest.split_once('"')?.0.to_owned())
    })
}

/// The doc comment as one paragraph, without links to items.
fn about(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(value) = &pair.value else { return None };
        let Lit::Str(text) = &value.lit else { return None };
        pair.path.is_ident("doc").then(|| text.value().trim().to_owned())
    });
    // The first paragraph; examples and sections follow it.
    let text = lines.take_while(|line| !line.starts_with('#') && !line.starts_with("```"));
    let text = text.collect::<Vec<_>>().join(" ");
    unlinked(text.trim()).replace('|', "\\|")
}

/// `[text](target)` and ``[`Item`]`` as their texts.
fn unlinked(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        let Some((inside, behind)) = after.split_once(']') else {
            plain.push('[');
            rest = after;
            continue;
        };
        let target = behind.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let is_link = target.is_some() || (inside.starts_with('`') && inside.ends_with('`'));
        let shown = if is_link { ["", inside, ""] } else { ["[", inside, "]"] };
        plain.extend(shown);
        rest = target.map_or(behind, |(_, rest)| rest);
    }
    plain + rest
}

fn fields(fields: &Fields) -> Vec<Field> {
    let named = fields.iter().filter(|field| !has_serde(&field.attrs, "skip"));
    let field = |field: &syn::Field| {
        let key = renamed(&field.attrs).or(field.ident.as_ref().map(ToString::to_string));
        let (about, inner) = (about(&field.attrs), inner(&field.ty));
        Field { key: key.unwrap_or_default(), about, inner }
    };
    named.map(field).collect()
}

/// The name of a type, or of what it holds.
fn inner(of: &Type) -> String {
    let Type::Path(path) = of else { return String::new() };
    let Some(last) = path.path.segments.last() else { return String::new() };
    if let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(held)) = arguments.args.last()
        && ["Option", "Vec", "Box"].iter().any(|name| last.ident == name)
    {
        return inner(held);
    }
    last.ident.to_string()
}

/// `AllWrong` as `all_wrong`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, c) in name.chars().enumerate() {
        if c.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

struct Page {
    types: Types,
    defaults: toml::Table,
    text: String,
    /// Types that keys of variants have, each once.
    shared: Vec<String>,
}

impl Page {
    fn write(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The section of a table or a choice at `path`, and those within it.
    fn section(&mut self, path: &str, field: &Field) {
        let Some(kind) = self.types.get(&field.inner).cloned() else { return };
        let level = "#".repeat(2 + path.matches('.').count().min(2));
        self.write(&format!("\n{level} {path}\n\n{}\n", field.about));
        match kind {
            Kind::Table(fields) => self.table(path, &fields),
            Kind::Choice(variants, _) => {
                let default = self.default(&format!("{path}.type"));
                if default != UNSET {
                    self.write(&format!("\nBy default {default}.\n"));
                }
                self.variants(&variants);
            }
        }
    }

    fn table(&mut self, path: &str, fields: &[Field]) {
        let (sections, rows): (Vec<_>, Vec<_>) =
            fields.iter().partition(|field| self.is_section(&field.inner));
        if !rows.is_empty() {
            self.write("\n| key | default | meaning |\n|---|---|---|\n");
        }
        for row in rows {
            let key = format!("{path}.{}", row.key);
            let (default, meaning) = (self.default(&key), self.meaning(row));
            self.write(&format!("| `{key}` | {default} | {meaning} |\n"));
        }
        for field in sections {
            self.section(&format!("{path}.{}", field.key), field);
        }
    }

    fn variants(&mut self, variants: &[Variant]) {
        self.write("\n| `type` | meaning | its keys |\n|---|---|---|\n");
        for variant in variants {
            let key = |field: &Field| match field.key.as_str() {
                // A variant that holds a table has the keys of the table.
                "" => self.meaning(field),
                key => format!("`{key}`: {}", self.meaning(field)),
            };
            let keys = variant.fields.iter().map(key).collect::<Vec<_>>().join("<br>");
            self.write(&format!("| `\"{}\"` | {} | {keys} |\n", variant.name, variant.about));
        }
    }

    /// A type that keys of variants have.
    fn shared(&mut self, name: &str) {
        let Some(kind) = self.types.get(name).cloned() else { return };
        self.write(&format!("\n## {}\n", snake(name).to_uppercase()));
        match kind {
            Kind::Choice(variants, _) => self.variants(&variants),
            Kind::Table(fields) => {
                self.write("\n| key | meaning |\n|---|---|\n");
                for field in fields {
                    let meaning = self.meaning(&field);
                    self.write(&format!("| `{}` | {meaning} |\n", field.key));
                }
            }
        }
    }

    /// Whether a key of this type has a section of its own.
    fn is_section(&self, name: &str) -> bool {
        matches!(self.types.get(name), Some(Kind::Table(_) | Kind::Choice(_, true)))
    }

    /// The meaning of a key, with the values that it may have.
    fn meaning(&mut self, field: &Field) -> String {
        let values = match self.types.get(&field.inner) {
            Some(Kind::Choice(variants, false)) => {
                let values =
                    variants.iter().map(|one| format!("`\"{}\"`: {}", one.name, one.about));
                values.collect::<Vec<_>>().join("<br>")
            }
            Some(_) => {
                if !self.shared.contains(&field.inner) {
                    self.shared.push(field.inner.clone());
                }
                let name = snake(&field.inner);
                format!("See [{}](#{name}).", name.to_uppercase())
            }
            None => String::new(),
        };
        let parts = [field.about.clone(), values].into_iter().filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("<br>")
    }

    fn default(&self, key: &str) -> String {
        let mut value = None;
        let mut table = Some(&self.defaults);
        for part in key.split('.') {
            value = table.and_then(|table| table.get(part));
            table = value.and_then(toml::Value::as_table);
        }
        value.map_or_else(|| UNSET.to_owned(), |value| format!("`{value}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &str = r#"
        /// All.
        #[derive(Default, Deserialize)]
        pub struct GrpoConfig {
            /// How [long](crate::x) the run is.
            pub run: RunConfig,
        }
        #[derive(Deserialize)]
        pub struct RunConfig {
            /// Steps.
            pub steps: Option<u64>,
            /// Treatment of [`old`] ones.
            pub stale: Stale,
            /// When.
            pub trigger: Trigger,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Stale {
            /// Left out.
            DropIt,
        }
        #[derive(Deserialize)]
        #[serde(tag = "type")]
        pub enum Trigger {
            /// Below a rate.
            Below {
                /// The rate.
                rate: f64,
                /// Another.
                of: Box<Trigger>,
            },
        }"#;

    #[test]
    fn keys_are_those_of_the_types() {
        let types = types(&Tree::of(&[("crates/a/src/lib.rs", TYPES)]));
        for key in
            ["run", "run.steps", "run.trigger.type", "run.trigger.rate", "run.trigger.of.rate"]
        {
            assert!(has_key(&types, key), "{key}");
        }
        for key in ["steps", "run.stops", "run.steps.x", "run.stale.type", "run.trigger.of.share"] {
            assert!(!has_key(&types, key), "{key}");
        }
    }

    #[test]
    fn the_page_follows_the_types() {
        let reference = "```toml\n[run]\nsteps = 5\n[run.trigger]\ntype = \"below\"\n```\n";
        let files = [("crates/a/src/lib.rs", TYPES), (DEFAULTS, reference), (PAGE, "")];
        let page = page(&Tree::of(&files));
        let expected = "
## run

How long the run is.

| key | default | meaning |
|---|---|---|
| `run.steps` | `5` | Steps. |
| `run.stale` | – | Treatment of `old` ones.<br>`\"drop_it\"`: Left out. |

### run.trigger

When.

By default `\"below\"`.

| `type` | meaning | its keys |
|---|---|---|
| `\"below\"` | Below a rate. | `rate`: The rate.<br>`of`: Another.<br>See [TRIGGER](#trigger). |

## TRIGGER
";
        assert!(page.starts_with(&format!("{HEAD}{expected}")), "{page}");
    }
}
