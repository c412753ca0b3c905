//! Headings, links, code and prose of a Markdown page, for the checks.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page, parsed.
#[derive(Debug, Default)]
pub(crate) struct Markdown {
    /// Anchors of the headings, as GitHub and mdBook make them, and those of `<a id="…">`.
    pub(crate) anchors: Vec<String>,
    /// Destinations of links and images, each with its line.
    pub(crate) links: Vec<(usize, String)>,
    /// Blocks of code: line, language and text.
    pub(crate) code: Vec<(usize, String, String)>,
    /// Paragraphs, items, headings and cells, each with its line. A piece of code is one word, `x`.
    pub(crate) prose: Vec<(usize, String)>,
}

impl Markdown {
    /// Parses a page.
    pub(crate) fn parse(text: &str) -> Self {
        let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
        let mut page = Self::default();
        let (mut block, mut heading, mut code) = (String::new(), None::<String>, None);
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |range: &Range<usize>| 1 + ends.partition_point(|&end| end < range.start);
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    page.end_block(&mut block, line(&range));
                    code = Some((line(&range), language, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.code.extend(code.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let same = page.anchors.iter().filter(|other| **other == anchor).count();
                    page.anchors.push(anchor.clone());
                    if same > 0 {
                        page.anchors.push(format!("{anchor}-{same}"));
                    }
                    page.end_block(&mut block, line(&range));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line(&range), dest_url.into_string()));
                }
                Event::Text(part) => {
                    if let Some((_, _, code)) = &mut code {
                        code.push_str(&part);
                    } else {
                        if let Some(heading) = &mut heading {
                            heading.push_str(&part);
                        }
                        block.push_str(&part);
                    }
                }
                Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                    block.push('x');
                }
                Event::Html(part) | Event::InlineHtml(part) => {
                    let ids = part.split("id=\"").skip(1).filter_map(|rest| rest.split_once('"'));
                    page.anchors.extend(ids.map(|(id, _)| id.to_owned()));
                }
                Event::SoftBreak | Event::HardBreak => block.push(' '),
                Event::Start(Tag::Paragraph | Tag::Item | Tag::TableCell)
                | Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::TableCell) => {
                    page.end_block(&mut block, line(&range));
                }
                _ => {}
            }
        }
        page
    }

    fn end_block(&mut self, block: &mut String, line: usize) {
        if !block.trim().is_empty() {
            self.prose.push((line, std::mem::take(block)));
        }
        block.clear();
    }
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "_-".contains(c) => Some(c),
        _ => None,
    });
    kept.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let text = "# On a `GPU`, today\n\nSee [it](a.md#b)\nand ![c](d.png). `f(x)` is.\n\n\
                    | one | two |\n|---|---|\n| <a id=\"y\"></a>x | y |\n\n```rust\nlet [a](b);\n```\n\n# A\n# A\n";
        let page = Markdown::parse(text);
        assert_eq!(page.anchors, ["on-a-gpu-today", "y", "a", "a", "a-1"]);
        assert_eq!(page.links, [(3, "a.md#b".to_owned()), (4, "d.png".to_owned())]);
        assert_eq!(page.code, [(10, "rust".to_owned(), "let [a](b);\n".to_owned())]);
        let prose = page.prose.iter().map(|(_, text)| text.as_str());
        let expected = ["On a x, today", "See it and c. x is.", "one", "two", "x", "y", "A", "A"];
        assert_eq!(prose.collect::<Vec<_>>(), expected);
    }
}
