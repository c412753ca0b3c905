//! Which module of a crate may use which: the table in ARCHITECTURE.md is that of the imports.
//!
//! A module is a file or folder directly below `src`. Its arrows are the paths through `crate` and
//! `super` in its code, unit tests left out. An arrow that the table lacks is a finding, and so are a row
//! that the code lacks and a circle. `cargo xtask bless` writes the table.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::{Finding, tree::Tree};

const DOCUMENT: &str = "ARCHITECTURE.md";
const HEAD: &str = "| crate | module | may use |\n|---|---|---|\n";

/// For each crate and module, the modules that it uses.
type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let arrows = arrows(tree);
    let document = tree.file(DOCUMENT).map_or("", |file| &file.text);
    let rows = document.split_once(HEAD).map_or("", |(_, rest)| rest);
    let rows = rows.lines().take_while(|line| line.starts_with('|')).collect::<BTreeSet<_>>();
    let expected = table(&arrows);
    let expected = expected.lines().collect::<BTreeSet<_>>();
    let found = |row: &&str, what: &str| {
        Finding::new(
            DOCUMENT,
            1,
            format!("{what}: {row}; undo the import, or run `cargo xtask bless`"),
        )
    };
    let missing = expected.difference(&rows).map(|row| found(row, "the table of modules lacks"));
    let stale = rows.difference(&expected).map(|row| found(row, "the code does not have"));
    let circles = circles(&arrows);
    let circles = circles.iter().map(|circle| {
        let message = format!("the modules {circle} use each other; move what they share");
        Finding::new(DOCUMENT, 1, message)
    });
    circles.chain(missing).chain(stale).collect()
}

/// The document with the table of the imports.
pub(super) fn blessed(tree: &Tree) -> Option<String> {
    let document = &tree.file(DOCUMENT)?.text;
    let (before, rest) = document.split_once(HEAD)?;
    let after = rest.lines().skip_while(|line| line.starts_with('|'));
    let after = after.flat_map(|line| [line, "\n"]).collect::<String>();
    Some(format!("{before}{HEAD}{}{after}", table(&arrows(tree))))
}

fn table(arrows: &Arrows) -> String {
    let row = |((krate, module), uses): (&(String, String), &BTreeSet<String>)| {
        let uses = uses.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let uses = if uses.is_empty() { "–" } else { &uses };
        format!("| {krate} | `{module}` | {uses} |\n")
    };
    arrows.iter().map(row).collect()
}

fn arrows(tree: &Tree) -> Arrows {
    let mut arrows = Arrows::new();
    for file in tree.rust(&["crates/"]) {
        let Some((krate, path)) = file.path["crates/".len()..].split_once("/src/") else {
            continue;
        };
        if krate.contains('/') {
            continue;
        }
        let mut place =
            path.trim_end_matches(".rs").split('/').map(str::to_owned).collect::<Vec<_>>();
        place.pop_if(|name| name == "mod");
        if ["lib", "main"].contains(&place[0].as_str()) || place.contains(&"tests".to_owned()) {
            continue;
        }
        let exported = exported(tree, krate);
        let Ok(parsed) = syn::parse_file(&file.text) else { continue };
        let mut paths = Paths { place: place.clone(), found: BTreeSet::new() };
        paths.visit_file(&parsed);
        let uses = arrows.entry((krate.to_owned(), place[0].clone())).or_default();
        // A module, or a name that the root re-exports; else an external crate or a macro.
        uses.extend(paths.found.into_iter().filter_map(|name| {
            if is_module(tree, krate, &name) { Some(name) } else { exported.get(&name).cloned() }
        }));
        uses.remove(&place[0]);
    }
    arrows
}

fn is_module(tree: &Tree, krate: &str, name: &str) -> bool {
    let file = |end: &str| tree.file(&format!("crates/{krate}/src/{name}{end}")).is_some();
    file(".rs") || file("/mod.rs")
}

/// What the root of a crate re-exports, and from which module.
fn exported(tree: &Tree, krate: &str) -> BTreeMap<String, String> {
    let root = tree.file(&format!("crates/{krate}/src/lib.rs"));
    let parsed = root.and_then(|file| syn::parse_file(&file.text).ok());
    let mut exported = BTreeMap::new();
    for item in parsed.into_iter().flat_map(|file| file.items) {
        let syn::Item::Use(item) = item else { continue };
        let mut names = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut names);
        for mut path in names {
            path.retain(|name| !["crate", "self"].contains(&name.as_str()));
            if let [module, .., name] = path.as_slice() {
                exported.insert(name.clone(), module.clone());
            }
        }
    }
    exported
}

/// Every path of a `use`.
pub(super) fn flatten(tree: &syn::UseTree, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let mut end = |name: String| paths.push([before.as_slice(), &[name]].concat());
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, paths);
            before.pop();
        }
        syn::UseTree::Name(name) => end(name.ident.to_string()),
        syn::UseTree::Rename(name) => end(name.ident.to_string()),
        syn::UseTree::Glob(_) => end("*".to_owned()),
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, before, paths));
        }
    }
}

/// First segments, below the crate's root, of the paths in a file.
struct Paths {
    /// The module that is looked at.
    place: Vec<String>,
    found: BTreeSet<String>,
}

impl Paths {
    fn path(&mut self, segments: &[String]) {
        let supers = segments.iter().take_while(|name| *name == "super").count();
        let at_root = supers > 0 && supers >= self.place.len();
        let first = match segments.first().map(String::as_str) {
            Some("crate") => segments.get(1),
            Some("super") if at_root => segments.get(supers),
            _ => None,
        };
        self.found.extend(first.cloned());
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for path in &paths {
            self.path(path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        self.path(&segments.collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) && item.content.is_some() {
            self.place.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.place.pop();
        }
    }
}

/// Whether an item is compiled for unit tests alone.
pub(super) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Groups of modules that reach each other, of each crate.
fn circles(arrows: &Arrows) -> Vec<String> {
    let reached = |start: &(String, String)| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start.1.clone()];
        while let Some(module) = open.pop() {
            for next in arrows.get(&(start.0.clone(), module)).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reach = arrows.keys().map(|key| (key, reached(key))).collect::<BTreeMap<_, _>>();
    let mut circles = BTreeSet::new();
    for ((krate, module), seen) in &reach {
        if seen.contains(module) {
            let back = |other: &&String| {
                reach.get(&(krate.clone(), (*other).clone())).is_some_and(|s| s.contains(module))
            };
            let members = seen.iter().filter(back).cloned().collect::<Vec<_>>();
            circles.insert(format!("{{{}}} of {krate}", members.join(", ")));
        }
    }
    circles.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(a: &str, rows: &str) -> Tree {
        let document = format!("# A\n\n{HEAD}{rows}\nMore.\n");
        Tree::of(&[
            ("ARCHITECTURE.md", &document),
            ("crates/x/src/lib.rs", "pub use b::Thing;\n"),
            ("crates/x/src/a/mod.rs", a),
            ("crates/x/src/a/inner.rs", "use super::Own;\nuse super::super::c;\n"),
            ("crates/x/src/b.rs", "use serde::Value;\n#[cfg(test)]\nmod tests { use crate::a; }\n"),
            ("crates/x/src/c.rs", ""),
        ])
    }

    const ROWS: &str = "| x | `a` | `b`, `c` |\n| x | `b` | – |\n| x | `c` | – |\n";

    #[test]
    fn arrows_are_those_of_the_table() {
        for a in ["use crate::b::{Thing, Other};", "use crate::Thing;", "fn f(_: crate::b::T) {}"] {
            assert_eq!(check(&tree(a, ROWS)), [], "{a}");
        }
        let findings = check(&tree("", ROWS));
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].message.contains("lacks: | x | `a` | `c` |"), "{}", findings[0]);
    }

    #[test]
    fn the_table_is_written() {
        let text = blessed(&tree("use crate::b::Thing;", "| x | `old` | – |\n")).unwrap();
        assert_eq!(text, format!("# A\n\n{HEAD}{ROWS}\nMore.\n"));
    }

    #[test]
    fn circles_are_found() {
        let files = [
            ("crates/x/src/a.rs", "use crate::b::B;"),
            ("crates/x/src/b.rs", "fn f() { crate::c::g() }"),
            ("crates/x/src/c.rs", "use crate::a;"),
            ("crates/x/src/d.rs", "use crate::a;"),
        ];
        assert_eq!(circles(&arrows(&Tree::of(&files))), ["{a, b, c} of x"]);
    }
}
