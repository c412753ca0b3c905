//! Every type of the libraries that a user makes has an example in its documentation, and so has every trait.
//!
//! Such a type is public and has a public function without `self` that returns it. Errors are left out: the libraries
//! make them. The example names the item, and stands at it, at one of its functions, or at the top of its module.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use super::modules::is_test;
use super::{Finding, tree::Tree};

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut types = BTreeMap::<(String, String), Type>::new();
    for file in tree.rust(&["crates/"]) {
        let Some((krate, path)) = file.path["crates/".len()..].split_once("/src/") else {
            continue;
        };
        // The application is no library.
        if krate.contains('/') || krate == "hint-rl" || path.split('/').any(|part| part == "tests")
        {
            continue;
        }
        let Ok(parsed) = syn::parse_file(&file.text) else { continue };
        let mut found = Types { krate, path: &file.path, all: &mut types };
        found.visit_file(&parsed);
        let module = doc(&parsed.attrs);
        for of_file in types.values_mut().filter(|of| of.path == file.path) {
            of_file.docs.push(module.clone());
        }
    }
    let bare = types.iter().filter(|((_, name), of)| {
        !of.path.is_empty()
            && of.is_made
            && !name.ends_with("Error")
            && !of.docs.iter().any(|doc| has_example(doc, name))
    });
    let finding = |((_, name), of): (&(String, String), &Type)| {
        let message = format!("`{name}` is made by users; add an example to its documentation");
        Finding::new(&of.path, line_of(tree, &of.path, name), message)
    };
    bare.map(finding).collect()
}

/// The line of a definition.
fn line_of(tree: &Tree, path: &str, name: &str) -> usize {
    let starts = |line: &str| {
        let rest = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "));
        let rest = rest.or_else(|| line.strip_prefix("pub trait "));
        let rest = rest.and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    let text = tree.file(path).map_or("", |file| &file.text);
    1 + text.lines().position(starts).unwrap_or(0)
}

/// What is known of a type.
#[derive(Default)]
struct Type {
    /// File of the definition; empty before that is met, and for types that are not public.
    path: String,
    /// Whether a public function returns it.
    is_made: bool,
    /// The documentation of the type, its functions and its module.
    docs: Vec<String>,
}

/// Collects the types of a file, by crate and name.
struct Types<'a> {
    krate: &'a str,
    path: &'a str,
    all: &'a mut BTreeMap<(String, String), Type>,
}

impl Types<'_> {
    fn of(&mut self, name: String) -> &mut Type {
        self.all.entry((self.krate.to_owned(), name)).or_default()
    }

    fn define(
        &mut self,
        visibility: &syn::Visibility,
        ident: &syn::Ident,
        attrs: &[syn::Attribute],
    ) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            let path = self.path.to_owned();
            let of = self.of(ident.to_string());
            of.path = path;
            of.docs.push(doc(attrs));
        }
    }
}

impl<'ast> Visit<'ast> for Types<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.define(&item.vis, &item.ident, &item.attrs);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.define(&item.vis, &item.ident, &item.attrs);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.define(&item.vis, &item.ident, &item.attrs);
        self.of(item.ident.to_string()).is_made = true;
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let syn::Type::Path(path) = &*item.self_ty else { return };
        let Some(name) = path.path.segments.last().map(|part| part.ident.to_string()) else {
            return;
        };
        if item.trait_.is_some() || is_test(&item.attrs) {
            return;
        }
        for function in &item.items {
            let syn::ImplItem::Fn(function) = function else { continue };
            if !matches!(function.vis, syn::Visibility::Public(_)) {
                continue;
            }
            let is_made = function.sig.receiver().is_none() && returns(&function.sig.output, &name);
            let of = self.of(name.clone());
            of.is_made |= is_made;
            of.docs.push(doc(&function.attrs));
        }
    }
}

/// Whether a function returns the type, alone or within a `Result` or `Option`.
fn returns(output: &syn::ReturnType, name: &str) -> bool {
    let syn::ReturnType::Type(_, of) = output else { return false };
    let mut inner = &**of;
    while let syn::Type::Path(path) = inner {
        let Some(last) = path.path.segments.last() else { return false };
        if last.ident == "Self" || last.ident == name {
            return true;
        }
        let syn::PathArguments::AngleBracketed(of) = &last.arguments else { return false };
        let Some(syn::GenericArgument::Type(first)) = of.args.first() else { return false };
        inner = first;
    }
    false
}

/// The documentation of an item.
fn doc(attrs: &[syn::Attribute]) -> String {
    let line = |attr: &syn::Attribute| match &attr.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
                Some(text.value() + "\n")
            }
            _ => None,
        },
        _ => None,
    };
    attrs.iter().filter_map(line).collect()
}

/// Whether a block of Rust code names the type.
fn has_example(doc: &str, name: &str) -> bool {
    doc.split("```").skip(1).step_by(2).any(|block| {
        let language = block.lines().next().unwrap_or("").trim();
        let mut words = block.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        ["", "no_run", "should_panic", "rust"].contains(&language) && words.any(|word| word == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/hint-x/src/lib.rs";

    fn found(code: &str) -> Vec<String> {
        check(&Tree::of(&[(PATH, code)])).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_type_that_users_make_needs_an_example_that_names_it() {
        let made = "pub struct A;\nimpl A { pub fn load() -> Result<Self, E> { loop {} } }\n";
        assert_eq!(found(made).len(), 1);
        assert_eq!(found(&format!("/// ```\n/// let a = A::load();\n/// ```\n{made}")).len(), 0);
        assert_eq!(found(&format!("/// ```text\n/// A\n/// ```\n{made}")).len(), 1);
        assert_eq!(found(&format!("/// ```\n/// let b = AB::load();\n/// ```\n{made}")).len(), 1);
        assert_eq!(found(&format!("//! ```\n//! A::load();\n//! ```\n{made}")).len(), 0);
    }

    #[test]
    fn traits_need_one_and_errors_and_hidden_types_do_not() {
        assert_eq!(found("pub trait T {}").len(), 1);
        assert_eq!(
            found("pub enum XError { B }\nimpl XError { pub fn b() -> Self { Self::B } }").len(),
            0
        );
        assert_eq!(
            found("pub(crate) struct A;\nimpl A { pub fn new() -> Self { Self } }").len(),
            0
        );
        assert_eq!(found("pub struct A;\nimpl A { pub fn len(&self) -> usize { 0 } }").len(), 0);
    }
}
