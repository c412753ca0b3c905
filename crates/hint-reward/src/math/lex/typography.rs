//! One spelling for characters that differ only in how they look.
//!
//! Digits of other scripts, full-width and mathematical letters, runs of superscripts and subscripts, circled numbers,
//! HTML tags and invisible characters. Also LaTeX commands whose backslash a JSON reader took for an escape.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text in one spelling. Text of plain ASCII without control characters and tags is returned
/// unchanged.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let damaged = |byte: u8| byte < b' ' && byte != b'\n';
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| *byte >= 0x80 || damaged(*byte) || matches!(byte, b'<' | b'&'))
        && !has_split_command(text)
    {
        return Cow::Borrowed(text);
    }
    let mut plain = Plain { out: String::with_capacity(text.len() + 16), text, at: 0 };
    while let Some(c) = plain.rest().chars().next() {
        plain.step(c);
    }
    if plain.out == text { Cow::Borrowed(text) } else { Cow::Owned(plain.out) }
}

/// A command that a JSON reader damaged: the control character it was read as, and the rest of its name.
const DAMAGED: [(char, char, &[&str]); 7] = [
    ('\u{c}', 'f', &["rac", "orall", "loor", "box", "bo", "frac"]),
    (
        '\t',
        't',
        &["ext", "imes", "heta", "an", "au", "frac", "o\\", "riangle", "ilde", "binom", "herefore"],
    ),
    (
        '\u{8}',
        'b',
        &["eta", "inom", "oxed", "ar", "egin", "mod", "ig", "ullet", "mathbf", "ecause", "f"],
    ),
    ('\r', 'r', &["ight", "ho", "angle", "ceil", "floor", "m{", "vert", "brace"]),
    ('\n', 'n', &["eq", "abla", "otin"]),
    ('\u{b}', 'v', &["ec", "ee", "arphi", "arepsilon", "ert", "dots"]),
    ('\u{7}', 'a', &["lpha", "ngle", "pprox", "rc", "st"]),
];

/// Whether a JSON reader damaged a command in the text, which is read in its original form. `\frac` may be a form
/// feed and `rac`.
pub(crate) fn has_damaged_command(text: &str) -> bool {
    has_split_command(text)
        || text.char_indices().any(|(at, c)| is_damaged_command(c, &text[at + c.len_utf8()..]))
}

fn is_damaged_command(control: char, behind: &str) -> bool {
    DAMAGED
        .iter()
        .find(|entry| entry.0 == control)
        .is_some_and(|(_, _, tails)| tails.iter().any(|tail| is_command_tail(behind, tail)))
}

/// Whether a line starts with the end of a command: `x \neq 1` as `x `, a line feed and `eq 1`.
fn has_split_command(text: &str) -> bool {
    let is_end = |rest: &str| DAMAGED[4].2.iter().take(2).any(|tail| is_command_tail(rest, tail));
    text.match_indices('\n').any(|(at, _)| is_end(&text[at + 1..]))
}

/// Whether the text starts with this end of a command and continues as a formula does.
fn is_command_tail(rest: &str, tail: &str) -> bool {
    let Some(behind) = rest.strip_prefix(tail) else { return false };
    if tail == "ext" {
        // `\text` holds words.
        return behind
            .trim_start()
            .strip_prefix('{')
            .is_some_and(|text| !text.starts_with(|c: char| c.is_ascii_digit()));
    }
    if tail == "an" {
        // `\tan`, not the article behind a tab.
        return behind.starts_with(|c: char| "({^\\".contains(c) || c < ' ' && c != '\n')
            || behind.strip_prefix(' ').is_some_and(|argument| {
                let mut chars = argument.chars();
                let first = chars.next().is_some_and(|c| !c.is_ascii_alphabetic());
                first || !chars.next().is_some_and(char::is_alphabetic)
            });
    }
    // `\text` and its like are followed by anything but a letter; `\times10` by a digit.
    !behind.starts_with(|c: char| c.is_ascii_alphabetic()) || tail.len() > 3
}

struct Plain<'a> {
    out: String,
    text: &'a str,
    at: usize,
}

impl Plain<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn put(&mut self, text: &str, length: usize) {
        self.out.push_str(text);
        self.at += length;
    }

    fn step(&mut self, c: char) {
        let length = c.len_utf8();
        if c.is_ascii() {
            match c {
                '<' => self.tag(),
                '&' => self.entity(),
                '\n' | '\t' | '\r' | '\u{7}' | '\u{8}' | '\u{b}' | '\u{c}' => self.control(c),
                _ => {
                    self.out.push(c);
                    self.at += 1;
                }
            }
            return;
        }
        if script(c).is_some() {
            self.scripts();
            return;
        }
        if let Some(number) = circled(c) {
            self.circled(number);
            return;
        }
        if let Some(digit) = digit(c) {
            self.out.push(digit);
            self.at += length;
            return;
        }
        if let Some(letter) = letter(c) {
            // A letter of its own, never the end of a command.
            self.out.push_str(letter);
            self.at += length;
            return;
        }
        match replacement(c) {
            Some(text) => self.put(text, length),
            None if is_cjk(c) => {
                // These scripts set no space between words and numbers.
                if self.out.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                    self.out.push(' ');
                }
                self.out.push(c);
                self.at += length;
                if self.rest().starts_with(|next: char| {
                    next.is_ascii_alphanumeric() || matches!(next, '$' | '\\')
                }) {
                    self.out.push(' ');
                }
            }
            None => {
                self.out.push(c);
                self.at += length;
            }
        }
    }

    fn control(&mut self, c: char) {
        let behind = &self.text[self.at + 1..];
        let letter = DAMAGED.iter().find(|entry| entry.0 == c).map(|entry| entry.1);
        if let Some(letter) = letter.filter(|_| is_damaged_command(c, behind)) {
            self.out.push('\\');
            self.out.push(letter);
        } else {
            // What is left of these is no text; it stays, and makes the text unreadable.
            self.out.push(c);
        }
        self.at += 1;
    }

    /// `<sup>…</sup>` and `<sub>…</sub>` as LaTeX, other tags of that kind as white space.
    fn tag(&mut self) {
        const TAGS: [(&str, &str); 10] = [
            ("<sup>", "^{"),
            ("</sup>", "}"),
            ("<sub>", "_{"),
            ("</sub>", "}"),
            ("<br>", "\n"),
            ("<br/>", "\n"),
            ("<b>", ""),
            ("</b>", ""),
            ("<i>", ""),
            ("</i>", ""),
        ];
        match TAGS.iter().find(|(tag, _)| self.rest().starts_with(tag)) {
            Some((tag, text)) => self.put(text, tag.len()),
            None => self.put("<", 1),
        }
    }

    fn entity(&mut self) {
        const ENTITIES: [(&str, &str); 12] = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&amp;", "&"),
            ("&le;", "\\le "),
            ("&ge;", "\\ge "),
            ("&ne;", "\\ne "),
            ("&times;", "\\times "),
            ("&minus;", "-"),
            ("&nbsp;", " "),
            ("&pi;", "\\pi "),
            ("&deg;", "^\\circ "),
            ("&frac12;", "\\frac{1}{2}"),
        ];
        match ENTITIES.iter().find(|(entity, _)| self.rest().starts_with(entity)) {
            Some((entity, text)) => self.put(text, entity.len()),
            None => self.put("&", 1),
        }
    }

    /// A run of superscripts or subscripts as one group: `10⁻⁴` is `10^{-4}`, `¹⁄₂` is a fraction.
    fn scripts(&mut self) {
        let (upper, end) = self.script_run(self.at, true);
        if end > self.at {
            let slash = self.text[end..].chars().next().filter(|c| matches!(c, '⁄' | '/' | '∕'));
            if let Some(slash) = slash {
                let (lower, lower_end) = self.script_run(end + slash.len_utf8(), false);
                if !lower.is_empty() {
                    let _ = write!(self.out, "\\frac{{{upper}}}{{{lower}}}");
                    self.at = lower_end;
                    return;
                }
            }
            let _ = write!(self.out, "^{{{upper}}}");
            self.at = end;
            return;
        }
        let (lower, end) = self.script_run(self.at, false);
        let _ = write!(self.out, "_{{{lower}}}");
        self.at = end;
    }

    fn script_run(&self, from: usize, upper: bool) -> (String, usize) {
        let mut run = String::new();
        let mut end = from;
        for c in self.text[from..].chars() {
            match script(c) {
                Some((plain, is_upper)) if is_upper == upper => run.push(plain),
                _ => break,
            }
            end += c.len_utf8();
        }
        (run, end)
    }

    /// Circled numbers name the items of a list: `②④` is `2, 4`.
    fn circled(&mut self, number: u32) {
        let before = self.out.trim_end_matches([' ', '、', '\u{ff0c}', ',']);
        let follows = self.text[..self.at]
            .trim_end()
            .chars()
            .next_back()
            .is_some_and(|c| circled(c).is_some());
        if follows && before.len() == self.out.len() {
            self.out.push_str(", ");
        }
        let _ = write!(self.out, "{number}");
        self.at += self.rest().chars().next().map_or(1, char::len_utf8);
    }
}

/// The plain character of a superscript (`true`) or subscript.
fn script(c: char) -> Option<(char, bool)> {
    const UPPER: &str = "⁰0¹1²2³3⁴4⁵5⁶6⁷7⁸8⁹9⁺+⁻-⁼=⁽(⁾)ⁿnⁱiᵃaᵇbᶜcᵈdᵉeᵏkᵐmᵖpᵗtˣxʸyᵀT";
    const LOWER: &str = "₀0₁1₂2₃3₄4₅5₆6₇7₈8₉9₊+₋-₌=₍(₎)ₐaₑeₖkₘmₙnₚpₛsₜtₓxᵢiⱼj";
    let find = |table: &str| {
        let mut chars = table.chars();
        while let (Some(script), Some(plain)) = (chars.next(), chars.next()) {
            if script == c {
                return Some(plain);
            }
        }
        None
    };
    match c {
        '²'
        | '³'
        | '¹'
        | '\u{2070}'..='\u{209c}'
        | '\u{2b0}'..='\u{2e3}'
        | '\u{1d2c}'..='\u{1d6a}'
        | '\u{2c7c}' => find(UPPER)
            .map(|plain| (plain, true))
            .or_else(|| find(LOWER).map(|plain| (plain, false))),
        _ => None,
    }
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// The number in a circle or another frame.
fn circled(c: char) -> Option<u32> {
    let code = u32::from(c);
    match code {
        0x2460..=0x2473 => Some(code - 0x2460 + 1),
        0x2776..=0x277f => Some(code - 0x2776 + 1),
        0x2780..=0x2789 => Some(code - 0x2780 + 1),
        0x278a..=0x2793 => Some(code - 0x278a + 1),
        0x2474..=0x2487 => Some(code - 0x2474 + 1),
        0x2488..=0x249b => Some(code - 0x2488 + 1),
        _ => None,
    }
}

/// The ASCII digit of a decimal digit of another script.
fn digit(c: char) -> Option<char> {
    const ZEROS: [u32; 24] = [
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
        0xe50, 0xed0, 0xf20, 0x1040, 0x17e0, 0x1810, 0xff10, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec,
    ];
    let code = u32::from(c);
    let zero =
        ZEROS.into_iter().chain([0x1d7f6]).find(|zero| (*zero..*zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

/// The plain letter of a mathematical, full-width or framed one.
fn letter(c: char) -> Option<&'static str> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const GREEK: [&str; 25] = [
        "α", "β", "γ", "δ", "ε", "ζ", "η", "θ", "ι", "κ", "λ", "μ", "ν", "ξ", "ο", "π", "ρ", "ς",
        "σ", "τ", "υ", "φ", "χ", "ψ", "ω",
    ];
    let code = usize::try_from(u32::from(c)).ok()?;
    let at = |index: usize| LETTERS.get(index..=index);
    match code {
        0x1d400..=0x1d6a3 => at((code - 0x1d400) % 52),
        // Small Greek letters, in five styles of 58 letters with 25 small ones from the 27th on.
        0x1d6a8..=0x1d7c9 => GREEK.get(((code - 0x1d6a8) % 58).checked_sub(26)?).copied(),
        0x210e => Some("h"),
        0x212f => Some("e"),
        0x2113 => Some("\\ell "),
        0xff21..=0xff3a => at(code - 0xff21),
        0xff41..=0xff5a => at(code - 0xff41 + 26),
        0x24b6..=0x24e9 => at(code - 0x24b6),
        _ => None,
    }
}

/// Spelling of another character.
fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{200b}'..='\u{200f}'
        | '\u{2060}'..='\u{2064}'
        | '\u{feff}'
        | '\u{ad}'
        | '\u{202a}'..='\u{202e}'
        | '■'
        | '□'
        | '∎'
        | '▪'
        | '◻'
        | '◼' => "",
        // White space that never separates thousands.
        '\u{3000}' | '\u{2000}'..='\u{2008}' => " ",
        '\u{66c}' => ",",
        '\u{66a}' | '\u{ff05}' => "%",
        '\u{ff0c}' | '\u{3001}' | '\u{60c}' | '\u{fe50}' => ", ",
        '\u{66b}' | '\u{ff0e}' => ".",
        '\u{ff1a}' => ": ",
        '\u{ff1b}' => "; ",
        '\u{ff08}' => "(",
        '\u{ff09}' => ")",
        '\u{ff3b}' | '\u{3010}' => "[",
        '\u{ff3d}' | '\u{3011}' => "]",
        '\u{ff5b}' => "\\{",
        '\u{ff5d}' => "\\}",
        '\u{ff1c}' => "<",
        '\u{ff1e}' => ">",
        '\u{ff1d}' => "=",
        '\u{ff0b}' => "+",
        '\u{ff0d}' | '\u{2212}' => "-",
        '\u{ff0f}' => "/",
        '\u{ff0a}' => "*",
        '\u{ff3e}' => "^",
        '\u{ff3f}' => "_",
        '\u{ff5c}' => "|",
        '\u{ff01}' => "!",
        '\u{ff04}' => "\\$",
        '’' | '‘' => "'",
        '∛' => "\\sqrt[3]",
        '∜' => "\\sqrt[4]",
        '△' | '▵' | '∆' => "\\triangle ",
        '∀' => "\\forall ",
        '∃' => "\\exists ",
        '¬' => "\\neg ",
        '∫' => "\\int ",
        '⟨' | '〈' => "\\langle ",
        '⟩' | '〉' => "\\rangle ",
        '″' => "''",
        '‴' => "'''",
        '⋯' | '…' | '⋮' => "\\dots ",
        'Ⅰ' => "I",
        'Ⅱ' => "II",
        'Ⅲ' => "III",
        'Ⅳ' => "IV",
        'Ⅴ' => "V",
        'Ⅵ' => "VI",
        '≢' => "\\not\\equiv ",
        '≮' => "\\ge ",
        '≯' => "\\le ",
        '⊆' => "\\subset ",
        'µ' => "μ",
        'Å' => "\\AA ",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_only_look_different_become_plain() {
        for (written, expected) in [
            ("x²⁰ − 3", "x^{20} - 3"),
            ("7.1 × 10⁻⁹", "7.1 × 10^{-9}"),
            ("a₁₂", "a_{12}"),
            ("³⁄₄", "\\frac{3}{4}"),
            ("٤٥٫٢", "45.2"),
            ("४२", "42"),
            ("𝟕𝒙", "7x"),
            ("｛３，４｝", "\\{3, 4\\}"),
            ("①②⑤", "1, 2, 5"),
            ("③、⑤", "3, 5"),
            ("2<sup>n</sup>", "2^{n}"),
            ("\u{c}rac{5}{7}", "\\frac{5}{7}"),
            ("4 \times 3", "4 \\times 3"),
            ("\u{8}egin{cases}", "\\begin{cases}"),
            ("x \neq 2", "x \\neq 2"),
        ] {
            assert_eq!(plain(written), expected, "{written:?}");
        }
        for same in ["", "x^2 + 1", "two\nlines\tand a tab", "a < b & c", "é"] {
            assert_eq!(plain(same), same);
        }
    }
}
