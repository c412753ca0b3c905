//! Chat templates as transformers reads them, rewritten for minijinja.

use minijinja::{Error, ErrorKind};

/// The template with line ends of one kind and with all of Python's escapes in its strings. `{% generation %}`, by which
/// transformers marks the model's text, becomes a block that only has a scope of its own.
pub(super) fn prepared(template: &str) -> Result<String, Error> {
    let template = template.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(template.len());
    let mut rest = template.as_str();
    let mut open = Vec::new();
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = match &rest[..2] {
            "{#" => rest.find("#}").map_or(rest.len(), |end| end + 2),
            open => tag_end(rest, if open == "{{" { "}}" } else { "%}" }),
        };
        let (tag, behind) = rest.split_at(end);
        rest = behind;
        let statement = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}")).map(word);
        check_loop(statement.unwrap_or_default(), &mut open)?;
        check_bindings(statement.unwrap_or_default())?;
        match statement {
            Some("generation") => out.push_str(&tag.replace("generation", "with")),
            Some("endgeneration") => out.push_str(&tag.replace("endgeneration", "endwith")),
            Some("raw") => {
                let (raw, behind) = rest.split_at(raw_end(rest));
                out.push_str(tag);
                out.push_str(raw);
                rest = behind;
            }
            _ if tag.starts_with("{#") => out.push_str(tag),
            _ => push_tag(tag, &mut out),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Keeps the blocks that are `open` at a statement. Refuses to leave a loop from within another block, which jinja2
/// refuses in most, and where minijinja would lose its place.
fn check_loop<'t>(statement: &'t str, open: &mut Vec<&'t str>) -> Result<(), Error> {
    let mut words = statement.split(|c: char| !c.is_alphanumeric() && c != '_');
    let word = words.next().unwrap_or_default();
    match word {
        "for" | "with" | "generation" | "filter" | "macro" | "call" | "autoescape" => {
            open.push(word);
        }
        "set" if !statement.contains('=') => open.push(word),
        "break" | "continue" if open.last().is_some_and(|block| *block != "for") => {
            let block = open.last().copied().unwrap_or_default();
            let message = format!(
                "`{word}` within `{block}` is not supported; it belongs into the loop itself"
            );
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
        _ => {
            if open.last().copied() == word.strip_prefix("end") {
                open.pop();
            }
        }
    }
    Ok(())
}

/// Refuses values of a tag that read names of the same tag: jinja2 takes them from outside, minijinja from the tag.
fn check_bindings(statement: &str) -> Result<(), Error> {
    let (keyword, rest) = statement.split_once(char::is_whitespace).unwrap_or((statement, ""));
    let list = match keyword {
        "with" => rest,
        "macro" => {
            rest.split_once('(').map_or("", |(_, list)| list.trim_end().trim_end_matches(')'))
        }
        _ => return Ok(()),
    };
    let list = without_strings(list);
    let mut bound: Vec<&str> = Vec::new();
    for binding in split(&list) {
        let (name, value) = binding.split_once('=').unwrap_or((binding, ""));
        if let Some(name) = bound.iter().find(|name| reads(value, name)) {
            let message = format!(
                "`{keyword}` gives a name the value of `{name}`, which it binds itself; jinja2 reads an outer one: \
                 use another name"
            );
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
        bound.push(name.trim());
    }
    Ok(())
}

/// The parts of a text without strings between commas outside of brackets.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c: char| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// Whether an expression without strings reads a variable. Its name is then neither an attribute nor the name of an
/// argument.
fn reads(expression: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    expression.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&expression[..at], &expression[at + name.len()..]);
        let argument = behind.trim_start();
        !before.ends_with(is_word)
            && !before.trim_end().ends_with('.')
            && !behind.starts_with(is_word)
            && (!argument.starts_with('=') || argument.starts_with("=="))
    })
}

/// An expression with its strings empty.
fn without_strings(expression: &str) -> String {
    let (mut quote, mut escaped) = (None, false);
    let mut is_outside = |c: char| match quote {
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(open) => {
            escaped = c == '\\';
            quote = quote.filter(|_| c != open);
            quote.is_none()
        }
        None => {
            quote = (c == '"' || c == '\'').then_some(c);
            true
        }
    };
    expression.chars().filter(|&c| is_outside(c)).collect()
}

/// The variables that a template sets from their own former values, such as `{% set a = a or b %}`.
pub(super) fn set_from_themselves(template: &str) -> Vec<&str> {
    let tags = template.split("{%").skip(1).filter_map(|tag| tag.split_once("%}"));
    let sets = tags.filter_map(|(tag, _)| word(tag).strip_prefix("set ")?.split_once('='));
    let sets = sets.map(|(name, value)| (name.trim(), value));
    let reads = |name: &str, value: &str| reads(&without_strings(value), name);
    sets.filter(|(name, value)| reads(name, value)).map(|(name, _)| name).collect()
}

/// The content of a tag, apart from marks of white space.
fn word(tag: &str) -> &str {
    tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+')
}

/// Where a tag ends: behind the first `close` outside of strings and braces.
fn tag_end(text: &str, close: &str) -> usize {
    let (mut quote, mut depth, mut escaped) = (None, 0_usize, false);
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) => quote = quote.filter(|_| c != open),
            None if depth == 0 && text[at..].starts_with(close) => return at + close.len(),
            None => match c {
                '"' | '\'' => quote = Some(c),
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
    }
    text.len()
}

/// Where the tag begins that ends a raw block.
fn raw_end(text: &str) -> usize {
    let mut tags = text.match_indices("{%").map(|(at, _)| at);
    let ends = |at: &usize| {
        text[at + 2..]
            .trim_start_matches(|c: char| c.is_whitespace() || c == '-')
            .starts_with("endraw")
    };
    tags.find(ends).unwrap_or(text.len())
}

/// Writes a tag, with the escapes that minijinja lacks replaced by their characters.
fn push_tag(tag: &str, out: &mut String) {
    let mut quote = None;
    let mut rest = tag;
    while let Some(c) = rest.chars().next() {
        let (len, meaning) = match quote {
            Some(_) if c == '\\' => escape(rest),
            _ => (c.len_utf8(), None),
        };
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        out.push_str(meaning.as_deref().unwrap_or(&rest[..len]));
        rest = &rest[len..];
    }
}

/// The length of the escape that a text begins with, and what it stands for if minijinja does not know it.
fn escape(text: &str) -> (usize, Option<String>) {
    match text[1..].chars().next() {
        Some('\n') => (2, Some(String::new())),
        Some('a') => (2, Some("\x07".into())),
        Some('v') => (2, Some("\x0b".into())),
        Some('U') => {
            let code = text.get(2..10).and_then(|digits| u32::from_str_radix(digits, 16).ok());
            let character = code.and_then(char::from_u32);
            character.map_or((2, None), |character| (10, Some(character.into())))
        }
        other => (1 + other.map_or(0, char::len_utf8), None),
    }
}

#[cfg(test)]
mod tests {
    use super::{prepared, set_from_themselves};

    #[test]
    fn tags_of_generation_become_blocks_and_texts_stay() {
        #[track_caller]
        fn check(template: &str, expected: &str) {
            assert_eq!(prepared(template).unwrap(), expected);
        }
        check("{%- generation -%}a{%endgeneration%}", "{%- with -%}a{%endwith%}");
        for text in [
            "{{ '{% generation %}' }}",
            "{# {% generation %} #}",
            "{%- raw %}{% generation %}{{{% endraw %}",
            "{{ {'a': {'b': '}}'}} }}{% if generation %}",
            "{% open",
            "{{ 'a\\'b' }}",
        ] {
            check(text, text);
        }
        check("{% raw %}{{{% endraw %}{% generation %}", "{% raw %}{{{% endraw %}{% with %}");
        check("a\r\nb\rc", "a\nb\nc");
        check(r"{{ '\U0001F600\v\n\\a' }}\a", "{{ '\u{1F600}\x0b\\n\\\\a' }}\\a");
    }

    #[test]
    fn values_that_read_names_of_their_own_tag_are_refused() {
        for tag in ["macro f(a, b=a)", "with a=1, b=a + 1", "with a = 1, b = f('x', [a])"] {
            let error = prepared(&format!("{{% {tag} %}}")).unwrap_err().to_string();
            assert!(error.contains("`a`") && error.contains("another name"), "{error}");
        }
        for tag in [
            "macro f(a, b='a', c=x.a, d=g(a=1))",
            "with a=1, b=aa",
            "with a=a",
            "with",
            "macro f()",
            "set a = b",
        ] {
            prepared(&format!("{{% {tag} %}}")).unwrap();
        }
    }

    #[test]
    fn variables_may_be_set_from_themselves() {
        let template = "{%- set a = a if a is defined else 1 -%}{% set b = 'b' %}{% set c.d = c %}";
        assert_eq!(set_from_themselves(template), ["a"]);
    }

    #[test]
    fn loops_are_left_from_their_own_block_alone() {
        for within in ["with", "generation", "filter upper", "set x", "call f()"] {
            let end = within.split(' ').next().unwrap_or_default();
            let template = format!(
                "{{% for i in [1] %}}{{% {within} %}}{{% continue %}}{{% end{end} %}}{{% endfor %}}"
            );
            let error = prepared(&template).unwrap_err().to_string();
            assert!(error.contains("`continue`") && error.contains(end), "{error}");
        }
        let inner = "{% with %}{% set x = 1 %}{% for i in [1] %}{% if x %}{% break %}{% endif %}{% endfor %}{% endwith %}";
        assert_eq!(prepared(inner).unwrap(), inner);
    }
}
