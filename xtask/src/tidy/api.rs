//! The public items of each crate are those in `docs/api`, so that a change of them shows in a review.
//!
//! An item is listed by the path where it is defined. Items that the compiler calls unreachable are
//! not public (`unreachable_pub` is an error in the gate). `cargo xtask bless` writes the files.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::visit::{self, Visit};

use super::modules::{flatten, is_test};
use super::tree::Tree;

/// The files, by path.
pub(super) fn written(tree: &Tree) -> Vec<(String, String)> {
    let mut items = BTreeMap::<String, BTreeSet<String>>::new();
    for file in tree.rust(&["crates/"]) {
        let Some((krate, path)) = file.path["crates/".len()..].split_once("/src/") else {
            continue;
        };
        let mut place = path.trim_end_matches(".rs").split('/').collect::<Vec<_>>();
        place.pop_if(|name| ["mod", "lib"].contains(name));
        if krate.contains('/') || path == "main.rs" || place.contains(&"tests") {
            continue;
        }
        let Ok(parsed) = syn::parse_file(&file.text) else { continue };
        let place = place.into_iter().map(str::to_owned).collect();
        let mut public = Public { place, items: BTreeSet::new() };
        public.visit_file(&parsed);
        items.entry(krate.to_owned()).or_default().extend(public.items);
    }
    let file = |(krate, items): (String, BTreeSet<String>)| {
        let text = items.into_iter().map(|item| item + "\n").collect();
        (format!("docs/api/{krate}.txt"), text)
    };
    items.into_iter().map(file).collect()
}

/// Collects the public items of a file.
struct Public {
    place: Vec<String>,
    items: BTreeSet<String>,
}

impl Public {
    fn add(&mut self, kind: &str, name: &str, rest: &str) {
        let path = [self.place.as_slice(), &[name.to_owned()]].concat().join("::");
        self.items.insert(format!("{path}: {kind}{rest}"));
    }

    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.place.push(name);
        visit(self);
        self.place.pop();
    }
}

/// Tokens as one line, with the spaces that people write.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        ("& ", "&"),
        (" < ", "<"),
        (" > ", ">"),
        (" >", ">"),
        ("< ", "<"),
        (" ,", ","),
        ("( ", "("),
        (" )", ")"),
        (" (", "("),
        (" : ", ": "),
        (" ;", ";"),
        (" [", "["),
        ("' ", "'"),
        (">->", "> ->"),
        (")->", ") ->"),
        (",)", ")"),
    ] {
        text = text.replace(from, to);
    }
    text
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

impl<'ast> Visit<'ast> for Public {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) {
            return;
        }
        if is_public(&item.vis) {
            self.add("mod", &item.ident.to_string(), "");
        }
        self.inside(item.ident.to_string(), |inner| visit::visit_item_mod(inner, item));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if is_public(&item.vis) {
            let mut paths = Vec::new();
            flatten(&item.tree, &mut Vec::new(), &mut paths);
            for path in paths {
                let name = path.last().map_or("", String::as_str);
                self.add("use ", name, &path.join("::"));
            }
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_public(&item.vis) && !is_test(&item.attrs) {
            self.add("", &item.sig.ident.to_string(), &text(&item.sig));
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if is_public(&item.vis) {
            self.add("const ", &item.ident.to_string(), &text(&item.ty));
        }
    }

    /// The constants of a table of names, as `hint-grpo/src/metrics/names.rs` has them.
    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if !item.mac.path.is_ident("table") {
            return;
        }
        let mut name = None;
        for token in item.mac.tokens.clone() {
            match token {
                TokenTree::Ident(ident) => name = Some(ident.to_string()),
                TokenTree::Punct(mark) if mark.as_char() == '=' => {
                    if let Some(name) = name.take() {
                        self.add("const ", &name, "&str");
                    }
                }
                _ => {}
            }
        }
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        if is_public(&item.vis) {
            self.add("type ", &item.ident.to_string(), &text(&item.ty));
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if !is_public(&item.vis) {
            return;
        }
        self.add("struct", &item.ident.to_string(), &text(&item.generics));
        self.inside(item.ident.to_string(), |inner| {
            for (index, field) in item.fields.iter().enumerate().filter(|(_, f)| is_public(&f.vis))
            {
                let name = field.ident.as_ref().map_or(index.to_string(), ToString::to_string);
                inner.add("", &name, &text(&field.ty));
            }
        });
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if !is_public(&item.vis) {
            return;
        }
        self.add("enum", &item.ident.to_string(), &text(&item.generics));
        self.inside(item.ident.to_string(), |inner| {
            for variant in &item.variants {
                let fields = variant.fields.iter().map(|field| {
                    let name = field.ident.as_ref().map(|name| format!("{name}: "));
                    name.unwrap_or_default() + &text(&field.ty)
                });
                let fields = fields.collect::<Vec<_>>().join(", ");
                inner.add("variant", &variant.ident.to_string(), &format!(" ({fields})"));
            }
        });
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if !is_public(&item.vis) {
            return;
        }
        self.add("trait", &item.ident.to_string(), &text(&item.generics));
        self.inside(item.ident.to_string(), |inner| {
            for item in &item.items {
                if let syn::TraitItem::Fn(method) = item {
                    let kind = if method.default.is_some() { "provided " } else { "required " };
                    inner.add(kind, &method.sig.ident.to_string(), &text(&method.sig));
                }
            }
        });
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_test(&item.attrs) {
            return;
        }
        let of = text(&item.self_ty);
        match &item.trait_ {
            Some((_, path, _)) => self.add("impl ", &of, &text(path)),
            None => self.inside(of, |inner| {
                for item in &item.items {
                    match item {
                        syn::ImplItem::Fn(method) if is_public(&method.vis) => {
                            inner.add("", &method.sig.ident.to_string(), &text(&method.sig));
                        }
                        syn::ImplItem::Const(constant) if is_public(&constant.vis) => {
                            inner.add("const ", &constant.ident.to_string(), &text(&constant.ty));
                        }
                        _ => {}
                    }
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "pub struct A<T> { pub x: Vec<T>, y: u8 }\nimpl<T> A<T> { pub fn new(x: &[T]) -> Self \
                        { loop {} } fn f() {} }\npub(crate) fn hidden() {}\n#[cfg(test)]\nmod tests { pub fn t() {} }\n";

    #[test]
    fn constants_of_a_table_are_listed() {
        let code =
            "table! { /// All.\nALL /// One.\n/// More.\nONE = \"area/one\"; TWO = \"two\"; }";
        let mut public = Public { place: vec!["names".to_owned()], items: BTreeSet::new() };
        public.visit_file(&syn::parse_file(code).expect("it is Rust"));
        let found = public.items.into_iter().collect::<Vec<_>>();
        assert_eq!(found, ["names::ONE: const &str", "names::TWO: const &str"]);
    }

    #[test]
    fn public_items_are_listed_with_their_signatures() {
        let files = written(&Tree::of(&[("crates/x/src/a/b.rs", CODE)]));
        let expected =
            "a::b::A: struct<T>\na::b::A::x: Vec<T>\na::b::A<T>::new: fn new(x: &[T]) -> Self\n";
        assert_eq!(files, [("docs/api/x.txt".to_owned(), expected.to_owned())]);
    }
}
