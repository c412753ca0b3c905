//! Boxed answers: `\boxed{…}`, `\fbox{…}` and `\framebox{…}`.

use std::ops::Range;

/// One `\boxed{…}` or `\fbox{…}` in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxedAnswer<'a> {
    /// Text between the braces, as written.
    pub content: &'a str,
    /// Bytes of the whole command in the text, braces included.
    pub span: Range<usize>,
}

impl<'a> BoxedAnswer<'a> {
    /// Every outermost balanced box of the text, in order. Boxes that never close are skipped.
    ///
    /// A box may also hold a single character or number without braces, `\boxed 4`, as TeX allows.
    /// Escaped braces, `\{` and `\}`, do not count.
    ///
    /// # Examples
    ///
    /// ```
    /// use hint_reward::extract::BoxedAnswer;
    ///
    /// let text = r"\boxed{1} or \fbox{\frac{1}{2}}, not \boxed{3";
    /// let found: Vec<_> = BoxedAnswer::all(text).into_iter().map(|answer| answer.content).collect();
    /// assert_eq!(found, ["1", r"\frac{1}{2}"]);
    /// ```
    pub fn all(text: &'a str) -> Vec<Self> {
        // One pass: a stack of open braces, each with the start of the box command it belongs to, if any.
        let bytes = text.as_bytes();
        let mut open: Vec<Option<(usize, usize)>> = Vec::new();
        let mut found: Vec<Self> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => {
                    if let Some(name_end) = box_command(bytes, at) {
                        let argument = skip_spaces(bytes, name_end);
                        match bytes.get(argument) {
                            Some(b'{') => {
                                open.push(Some((at, argument + 1)));
                                at = argument + 1;
                            }
                            Some(byte)
                                if byte.is_ascii_digit()
                                    || (argument > name_end && byte.is_ascii_alphanumeric()) =>
                            {
                                let end = bare_argument(bytes, argument);
                                found.push(Self { content: &text[argument..end], span: at..end });
                                at = end;
                            }
                            _ => at = name_end,
                        }
                    } else {
                        // A command or an escaped character: the byte after the backslash is not a brace.
                        at += 2;
                    }
                }
                b'{' => {
                    open.push(None);
                    at += 1;
                }
                b'}' => {
                    at += 1;
                    if let Some(Some((start, content))) = open.pop() {
                        // Inner boxes close first; the outer one replaces them.
                        while found.last().is_some_and(|inner| inner.span.start > start) {
                            found.pop();
                        }
                        found.push(Self { content: &text[content..at - 1], span: start..at });
                    }
                }
                _ => at += 1,
            }
        }
        found
    }
}

/// The content of the last balanced `\boxed{…}` or `\fbox{…}`, without surrounding white space.
///
/// # Examples
///
/// ```
/// use hint_reward::extract::extract_boxed;
///
/// assert_eq!(extract_boxed(r"first \boxed{3}, no: \boxed{ \sqrt{2} }"), Some(r"\sqrt{2}"));
/// assert_eq!(extract_boxed("no box"), None);
/// ```
pub fn extract_boxed(text: &str) -> Option<&str> {
    BoxedAnswer::all(text).last().map(|answer| answer.content.trim())
}

/// End of the command name if a box command starts at `at`.
fn box_command(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    [&b"\\boxed"[..], b"\\fbox", b"\\framebox"].iter().find_map(|name| {
        let end = at + name.len();
        let is_name =
            rest.starts_with(name) && !bytes.get(end).is_some_and(u8::is_ascii_alphabetic);
        is_name.then_some(end)
    })
}

fn skip_spaces(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// End of an argument without braces: a run of digits, or one letter.
fn bare_argument(bytes: &[u8], at: usize) -> usize {
    if bytes[at].is_ascii_digit() {
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        at + digits
    } else {
        at + 1
    }
}
