//! Imports between the modules of a crate must match the table in ARCHITECTURE.md.
//!
//! A module is a file or folder directly below `src`. Its arrows are the paths through `crate` and `super` in
//! its code, unit tests left out. An arrow that the table lacks is a finding, and so are a row that the code
//! lacks and a circle. `cargo xtask bless` writes the table. Files inside a module must form no circle
//! either, nor folders beside each other. A `mod.rs` with its files is no circle, since it only gathers them.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::{Finding, tree::Tree};

const DOCUMENT: &str = "ARCHITECTURE.md";
const HEAD: &str = "| crate | module | may use |\n|---|---|---|\n";

/// For each crate and module, the modules that it uses.
type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = file_arrows(tree);
    let found = [
        ("modules", circles(&arrows(tree))),
        ("files", circles(&files)),
        ("folders", circles(&folded(&files))),
    ];
    let finding = |what: &str, circle: String| {
        let message = format!("the {what} {circle} use each other; move what they share");
        Finding::new(DOCUMENT, 1, message)
    };
    let findings = found
        .into_iter()
        .flat_map(|(what, circles)| circles.into_iter().map(move |circle| finding(what, circle)));
    findings.collect()
}

/// The document with the table of the imports.
pub(super) fn written(tree: &Tree) -> Vec<(String, String)> {
    let Some(document) = tree.file(DOCUMENT) else { return Vec::new() };
    let (before, rest) = document.text.split_once(HEAD).unwrap_or((&document.text, ""));
    let after = rest.split_inclusive('\n').skip_while(|line| line.starts_with('|'));
    let text = format!("{before}{HEAD}{}{}", table(&arrows(tree)), after.collect::<String>());
    vec![(DOCUMENT.to_owned(), text)]
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
    for (krate, place, paths) in sources(tree) {
        let exported = exported(tree, &krate, "lib.rs");
        let first = paths.iter().filter_map(|path| path.first());
        // A module, or a name that the root re-exports; else an external crate or a macro.
        let modules = first.filter_map(|name| {
            if module(tree, &krate, name).is_some() {
                Some(name)
            } else {
                exported.get(name)?.first()
            }
        });
        let modules = modules.filter(|name| **name != place[0]).cloned().collect::<Vec<_>>();
        arrows.entry((krate, place[0].clone())).or_default().extend(modules);
    }
    arrows
}

/// For each crate and file, by its path below `src` and without its ending, the files that it uses.
fn file_arrows(tree: &Tree) -> Arrows {
    let mut arrows = Arrows::new();
    for (krate, place, paths) in sources(tree) {
        let own = place.join("/");
        if module(tree, &krate, &own) == Some(true) {
            let used = paths.iter().filter_map(|path| file_of(tree, &krate, path));
            let used = used.filter(|file| *file != own).collect::<BTreeSet<_>>();
            arrows.insert((krate, own), used);
        }
    }
    arrows
}

/// The arrows between files, as those between the folders or files below the last folder that both are in.
fn folded(files: &Arrows) -> Arrows {
    let mut folded = Arrows::new();
    for ((krate, from), uses) in files {
        for to in uses {
            let (from, to) = (from.split('/'), to.split('/'));
            let common = from.clone().zip(to.clone()).take_while(|(a, b)| a == b).count();
            let [from, to] = [from, to].map(|path| path.take(common + 1).collect::<Vec<_>>());
            folded.entry((krate.clone(), from.join("/"))).or_default().insert(to.join("/"));
        }
    }
    folded
}

/// The file that holds `path`; nothing for a `mod.rs`, and for paths outside this crate.
fn file_of(tree: &Tree, krate: &str, path: &[String]) -> Option<String> {
    let found = |end: usize| Some((end, module(tree, krate, &path[..end].join("/"))?));
    let (end, is_file) = (1..=path.len()).rev().find_map(found)?;
    let (place, rest) = path.split_at(end);
    if is_file {
        return Some(place.join("/"));
    }
    let exported = exported(tree, krate, &format!("{}/mod.rs", place.join("/")));
    file_of(tree, krate, &[place, exported.get(rest.first()?)?].concat())
}

/// The files below the `src` of the crates, apart from roots and unit tests. Each has its crate, its place,
/// and the paths that it names, from the root.
fn sources(tree: &Tree) -> Vec<(String, Vec<String>, BTreeSet<Vec<String>>)> {
    let mut sources = Vec::new();
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
        let Ok(parsed) = syn::parse_file(&file.text) else { continue };
        let mut paths = Paths { place: place.clone(), found: BTreeSet::new() };
        paths.visit_file(&parsed);
        sources.push((krate.to_owned(), place, paths.found));
    }
    sources
}

/// Whether a module is a file (or a folder), if there is one.
fn module(tree: &Tree, krate: &str, name: &str) -> Option<bool> {
    let is = |end: &str| tree.file(&format!("crates/{krate}/src/{name}{end}")).is_some();
    if is(".rs") { Some(true) } else { is("/mod.rs").then_some(false) }
}

/// Re-exports of a crate's root or a folder's `mod.rs`, each with its path below it.
fn exported(tree: &Tree, krate: &str, file: &str) -> BTreeMap<String, Vec<String>> {
    let root = tree.file(&format!("crates/{krate}/src/{file}"));
    let parsed = root.and_then(|file| syn::parse_file(&file.text).ok());
    let mut exported = BTreeMap::new();
    for item in parsed.into_iter().flat_map(|file| file.items) {
        let syn::Item::Use(item) = item else { continue };
        let mut names = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut names);
        for mut path in names {
            path.retain(|name| !["crate", "self"].contains(&name.as_str()));
            if let [_, .., name] = path.as_slice() {
                exported.insert(name.clone(), path.clone());
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

/// The paths in a file that begin in its crate, from the crate's root.
struct Paths {
    /// The module that is looked at.
    place: Vec<String>,
    found: BTreeSet<Vec<String>>,
}

impl Paths {
    fn path(&mut self, segments: &[String]) {
        let supers = segments.iter().take_while(|name| *name == "super").count();
        let (above, skip) = match segments.first().map(String::as_str) {
            Some("crate") => (0, 1),
            Some("self") => (self.place.len(), 1),
            Some("super") => (self.place.len().saturating_sub(supers), supers),
            _ => return,
        };
        self.found.insert([&self.place[..above], &segments[skip..]].concat());
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
    fn the_table_holds_the_arrows() {
        let expected = |rows| format!("# A\n\n{HEAD}{rows}\nMore.\n");
        for a in ["use crate::b::{Thing, Other};", "use crate::Thing;", "fn f(_: crate::b::T) {}"] {
            let files = written(&tree(a, "| x | `old` | – |\n"));
            assert_eq!(files, [(DOCUMENT.to_owned(), expected(ROWS))], "{a}");
        }
        assert_eq!(written(&tree("", ROWS))[0].1, expected(&ROWS.replace("`b`, `c`", "`c`")));
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

    #[test]
    fn circles_of_files_are_found_through_the_names_of_their_folder() {
        let files = [
            ("crates/x/src/a/mod.rs", "mod one; mod two; pub use self::one::One; pub struct Own;"),
            ("crates/x/src/a/one.rs", "use super::two::Two; use super::Own;"),
            ("crates/x/src/a/two.rs", "use super::One;"),
            ("crates/x/src/a/three.rs", "use crate::a::{One, Own};"),
        ];
        assert_eq!(circles(&file_arrows(&Tree::of(&files))), ["{a/one, a/two} of x"]);
    }

    #[test]
    fn circles_of_folders_are_found_where_no_two_files_are_one() {
        let files = [
            ("crates/x/src/a/lex/one.rs", "use crate::a::parse::two::Two;"),
            ("crates/x/src/a/parse/two.rs", ""),
            ("crates/x/src/a/parse/three.rs", "use crate::a::lex::four::Four;"),
            ("crates/x/src/a/lex/four.rs", "use super::one::One;"),
        ];
        let files = file_arrows(&Tree::of(&files));
        assert_eq!(circles(&files), [""; 0]);
        assert_eq!(circles(&folded(&files)), ["{a/lex, a/parse} of x"]);
    }
}
