//! Splits a worked solution into sentences, and a sentence into words, numbers and operators.

use hint_reward::is_number_word;

/// A piece of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word, with its inner hyphens, apostrophes and slashes.
    Word(String),
    /// A number in digits, without currency sign and percent sign.
    Number {
        /// The digits.
        text: String,
        /// Whether a currency sign stands before it.
        currency: bool,
        /// Whether a percent sign stands behind it.
        percent: bool,
    },
    /// An unknown of an equation, such as `x`.
    Unknown(String),
    /// A number joined to a word, as in `6-inch`.
    Compound(String),
    /// One of `+ - * / = ( )`.
    Operator(char),
    /// A comma, colon or semicolon.
    Mark(char),
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.word().is_some_and(|w| w.eq_ignore_ascii_case(word))
    }

    /// A number or an unknown: what an operator joins.
    pub(super) fn is_operand(&self) -> bool {
        matches!(self, Self::Number { .. } | Self::Unknown(_))
    }

    pub(super) fn is_operator(&self) -> bool {
        matches!(self, Self::Operator(_))
    }

    /// Whether the token states a quantity, in digits or words.
    pub(super) fn is_quantity(&self) -> bool {
        match self {
            Self::Word(word) => word.split('-').any(is_number_word),
            other => matches!(other, Self::Number { .. } | Self::Compound(_)),
        }
    }
}

/// Abbreviations whose full stop ends no sentence.
const TITLES: [&str; 6] = ["Mr", "Mrs", "Ms", "Dr", "Prof", "St"];

/// The sentences of `text`: lines, split after a full stop that ends one.
pub(super) fn sentences(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
            let stem = word.trim_end_matches(['.', '!', '?']);
            if stem.len() < word.len() && !TITLES.contains(&stem) {
                sentences.push(std::mem::take(&mut current));
            }
        }
        sentences.push(current);
    }
    sentences
        .iter()
        .map(|s| s.trim_end_matches(['.', '!', '?']).to_owned())
        .filter(|s| !s.is_empty())
        .collect()
}

/// The tokens of one sentence. Characters that are none of ours, such as quotes, are left out.
pub(super) fn tokenize(sentence: &str) -> Vec<Token> {
    let chars: Vec<char> = sentence.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or(' ');
    let mut tokens = Vec::new();
    let mut i = 0;
    let mut currency = false;
    while i < chars.len() {
        let c = chars[i];
        let start = i;
        if c.is_ascii_digit() || (c == '.' && at(i + 1).is_ascii_digit()) {
            while at(i).is_ascii_digit()
                || (matches!(at(i), '.' | ',') && at(i + 1).is_ascii_digit())
            {
                i += 1;
            }
            let text: String = chars[start..i].iter().collect();
            let percent = at(i) == '%';
            i += usize::from(percent);
            if at(i) == '-' && at(i + 1).is_alphabetic() {
                while at(i).is_alphanumeric() || at(i) == '-' {
                    i += 1;
                }
                tokens.push(Token::Compound(chars[start..i].iter().collect()));
            } else {
                tokens.push(Token::Number { text, currency, percent });
                // `2x`: an unknown follows its coefficient.
                if at(i).is_alphabetic() && !at(i + 1).is_alphabetic() {
                    tokens.push(Token::Operator('*'));
                }
            }
            currency = false;
        } else if c.is_alphabetic() {
            while at(i).is_alphanumeric()
                || (matches!(at(i), '-' | '\'' | '’' | '/' | '.') && at(i + 1).is_alphabetic())
            {
                i += 1;
            }
            // The plural mark of `feet(s)`.
            if chars[i..].starts_with(&['(', 's', ')']) {
                i += 3;
            }
            let mut word: String = chars[start..i].iter().collect();
            if at(i) == '.' && TITLES.contains(&word.as_str()) {
                word.push('.');
                i += 1;
            }
            let unknown = word.len() == 1 && !matches!(c, 'a' | 'A' | 'I');
            tokens.push(if unknown { Token::Unknown(word) } else { Token::Word(word) });
        } else {
            match c {
                '$' | '€' | '£' => currency = true,
                '+' | '-' | '*' | '/' | '=' | '(' | ')' => tokens.push(Token::Operator(c)),
                '×' => tokens.push(Token::Operator('*')),
                '÷' => tokens.push(Token::Operator('/')),
                ',' | ':' | ';' => tokens.push(Token::Mark(c)),
                _ => {}
            }
            i += 1;
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn kinds(text: &str, expected: &str) {
        let kind = |token: &Token| match token {
            Token::Word(_) => 'w',
            Token::Number { currency: true, .. } => '$',
            Token::Number { percent: true, .. } => '%',
            Token::Number { .. } => 'n',
            Token::Unknown(_) => 'x',
            Token::Compound(_) => 'c',
            Token::Operator(c) | Token::Mark(c) => *c,
        };
        assert_eq!(tokenize(text).iter().map(kind).collect::<String>(), expected, "{text}");
    }

    #[test]
    fn words_numbers_and_operators_are_told_apart() {
        kinds("6 inches/remora * 2 = 12", "nw*n=n");
        kinds("a 36-minute call", "wcw");
        kinds("$1,250.5 - 50% = .5", "$-%=n");
        kinds("2x+60=100", "n*x+n=n");
        kinds("5 foot(s): Pat's", "nw:w");
    }

    #[test]
    fn sentences_end_at_full_stops_but_not_at_titles() {
        let text = "Mr. Tan paid 2.5 of it. He left.\nThen, more";
        assert_eq!(sentences(text), ["Mr. Tan paid 2.5 of it", "He left", "Then, more"]);
    }
}
