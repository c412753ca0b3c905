//! The book's page of presets is made from the files in `examples/configs`. `cargo xtask bless` writes it.

use super::tree::Tree;

const FOLDER: &str = "examples/configs/";
const PAGE: &str = "docs/presets.md";

const HEAD: &str = "# Presets\n\n<!-- Written by `cargo xtask bless` from examples/configs. -->\n\n\
    Each file in `examples/configs` is a choice on the axes of [methods](methods.md). \
    `hint-rl train --method NAME` runs it on the model, data and optimizer of the run. \
    `--config FILE` takes a whole file, such as the tasks `tiny` and `smollm2`. With `--method`, `hint` is the \
    run's own configuration, and `grpo` the same without hints.\n";

/// The page.
pub(super) fn written(tree: &Tree) -> Vec<(String, String)> {
    tree.file(PAGE).map(|_| (PAGE.to_owned(), page(tree))).into_iter().collect()
}

fn page(tree: &Tree) -> String {
    let mut page = vec![HEAD.to_owned()];
    for file in tree.files.iter().filter(|file| file.path.starts_with(FOLDER)) {
        let name = file.name().trim_end_matches(".toml");
        let about = file.lines().map_while(|(_, line)| line.strip_prefix('#'));
        let about: Vec<&str> = about.map(str::trim_start).collect();
        let about = about.join("\n");
        let keys = file.text.lines().skip_while(|line| line.starts_with('#') || line.is_empty());
        let keys: Vec<&str> = keys.collect();
        page.push(format!("\n## {name}\n\n{about}\n\n```toml\n{}\n```\n", keys.join("\n")));
    }
    page.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_follows_the_presets() {
        let preset = ("examples/configs/a.toml", "# About\n# it.\n\n[run]\nsteps = 1 # few\n");
        let page = page(&Tree::of(&[preset, (PAGE, "")]));
        assert_eq!(
            page,
            format!("{HEAD}\n## a\n\nAbout\nit.\n\n```toml\n[run]\nsteps = 1 # few\n```\n")
        );
    }
}
