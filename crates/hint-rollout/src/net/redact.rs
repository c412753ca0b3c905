//! Hides a key in the text of a server: whole, in part, and encoded.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};

/// The shortest part of a key that is hidden, in characters of the key.
const SHORTEST: usize = 6;
/// Most characters that are searched.
const SEARCHED: usize = 4096;

/// A way in which a key may be written.
struct Form {
    text: Vec<char>,
    /// The shortest part that is hidden.
    shortest: usize,
}

impl Form {
    fn new(text: &str, shortest: usize) -> Self {
        let text = text.chars().collect::<Vec<_>>();
        let shortest = shortest.min(text.len()).max(1);
        Self { text, shortest }
    }

    /// The length of the longest part of this form that `text` begins with.
    fn longest(&self, text: &[char]) -> usize {
        let same = |(left, right): &(&char, &char)| left == right;
        let starts = 0..self.text.len();
        let lengths = starts.map(|at| text.iter().zip(&self.text[at..]).take_while(same).count());
        lengths.max().filter(|length| *length >= self.shortest).unwrap_or(0)
    }
}

/// The key itself, and as hexadecimal digits, in base64 from each of its offsets, and in an address.
fn forms(key: &str) -> Vec<Form> {
    let hex = HEXLOWER.encode(key.as_bytes());
    let mut forms = vec![
        Form::new(key, SHORTEST),
        Form::new(&hex, 2 * SHORTEST),
        Form::new(&hex.to_uppercase(), 2 * SHORTEST),
    ];
    // Whole groups of three bytes become the same four characters wherever the key begins in a text.
    for skipped in 0..3.min(key.len()) {
        let bytes = &key.as_bytes()[skipped..];
        let bytes = &bytes[..bytes.len() / 3 * 3];
        if !bytes.is_empty() {
            forms.push(Form::new(&BASE64_NOPAD.encode(bytes), SHORTEST / 3 * 4));
            forms.push(Form::new(&BASE64URL_NOPAD.encode(bytes), SHORTEST / 3 * 4));
        }
    }
    let escaped = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let escaped = key.bytes().map(escaped).collect::<String>();
    if escaped != key {
        forms.push(Form::new(&escaped, 2 * SHORTEST));
    }
    forms
}

/// The beginning of `text`, in which each part of `key` is an ellipsis.
pub(crate) fn redacted(key: &str, text: &str) -> String {
    let forms = if key.is_empty() { Vec::new() } else { forms(key) };
    let text = text.chars().take(SEARCHED).collect::<Vec<_>>();
    let (mut shown, mut at) = (String::new(), 0);
    while at < text.len() {
        match forms.iter().map(|form| form.longest(&text[at..])).max() {
            Some(length) if length > 0 => {
                shown.push('…');
                at += length;
            }
            _ => {
                shown.push(text[at]);
                at += 1;
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, HEXUPPER};

    use super::*;

    #[test]
    fn a_key_is_hidden_whole_in_part_and_encoded() {
        const KEY: &str = "sk-live/ÜbcDEF+0123456789";
        let hidden = |text: &str| redacted(KEY, text);
        assert_eq!(hidden(&format!("bad key {KEY}!")), "bad key …!");
        assert_eq!(hidden("key sk-live***6789, no other"), "key …***6789, no other");
        assert_eq!(hidden("a DEF+0123 b"), "a … b");
        let header = format!("Bearer {KEY}");
        assert_eq!(hidden(&HEXLOWER.encode(header.as_bytes())), "42656172657220…");
        assert_eq!(hidden(&HEXUPPER.encode(KEY.as_bytes())), "…");
        assert_eq!(hidden("sk-live%2F%C3%9CbcDEF%2B0123456789"), "…");
        for before in ["", "B", "Be", "Bearer "] {
            let encoded = BASE64.encode(format!("{before}{KEY}").as_bytes());
            let shown = hidden(&encoded);
            // What is left are groups that hold other bytes as well.
            assert!(shown.contains('…') && shown.len() < 3 + before.len() * 4 / 3 + 12, "{shown}");
        }
    }

    #[test]
    fn other_text_stays_and_short_keys_are_hidden_whole() {
        assert_eq!(redacted("sk-abcdefgh", "ask-abs or sk-ab"), "ask-abs or sk-ab");
        assert_eq!(redacted("", "nothing"), "nothing");
        assert_eq!(redacted("sk-1", "bad key sk-1, not sk-2"), "bad key …, not sk-2");
        assert_eq!(redacted("k", &"x".repeat(5000)).len(), SEARCHED);
    }
}
