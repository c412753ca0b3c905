//! Phrases without numbers: noun phrases, and wording that survives the loss of its quantities.

use super::token::Token;

/// Length of the noun phrase at the start of `tokens`.
pub(super) fn noun_phrase(tokens: &[Token]) -> usize {
    const STOPS: [&str; 67] = [
        "a",
        "an",
        "the",
        "each",
        "every",
        "per",
        "on",
        "in",
        "for",
        "from",
        "to",
        "at",
        "with",
        "by",
        "after",
        "before",
        "into",
        "because",
        "that",
        "who",
        "which",
        "when",
        "where",
        "and",
        "so",
        "now",
        "than",
        "if",
        "since",
        "between",
        "within",
        "will",
        "would",
        "can",
        "is",
        "are",
        "was",
        "were",
        "be",
        "have",
        "has",
        "had",
        "won't",
        "do",
        "don't",
        "left",
        "still",
        "away",
        "together",
        "every",
        "his",
        "her",
        "their",
        "its",
        "this",
        "out",
        "up",
        "apart",
        "pop",
        "came",
        "remaining",
        "altogether",
        "apiece",
        "more",
        "fewer",
        "less",
        "as",
    ];
    let mut length = 0;
    while let Some(token) = tokens.get(length) {
        let Token::Word(word) = token else { break };
        let lower = lower_first(word);
        let stop = STOPS.contains(&lower.as_str());
        let first = length == 0;
        // `remaining seats` and `more apartments` start a noun phrase, and end one elsewhere.
        let opens = first && matches!(lower.as_str(), "remaining" | "more" | "fewer");
        let participle = !first && (lower.ends_with("ed") || lower.ends_with("ing"));
        // Inside `ounces of the water` a determiner does not end the phrase.
        let after_of = !first && tokens[length - 1].is_word("of");
        if (stop && !opens && !after_of) || participle || (first && lower == "of") {
            break;
        }
        length += 1;
    }
    // `intervals of 10 minutes`
    if length > 0 && tokens[length - 1].is_word("of") {
        length -= 1;
    }
    length
}

/// The words of `tokens` without quantities, and without what makes no sense when those are gone.
pub(super) fn plain(tokens: &[Token]) -> String {
    plain_beside(tokens, None)
}

/// As [`plain`]; the noun `counted` is also left out where a quantity of it is.
pub(super) fn plain_beside(tokens: &[Token], counted: Option<&str>) -> String {
    const LOSES_OBJECT: [&str; 9] = ["of", "for", "by", "at", "to", "than", "with", "as", "from"];
    const TIME: [&str; 12] = [
        "second", "seconds", "minute", "minutes", "hour", "hours", "day", "days", "week", "weeks",
        "year", "years",
    ];
    let in_list = |token: Option<&Token>, list: &[&str]| {
        token.and_then(Token::word).is_some_and(|word| list.contains(&word))
    };
    let mut words: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            _ if token.is_quantity() => {
                while tokens.get(at + 1).is_some_and(|t| t.is_quantity() || t.is_operator()) {
                    at += 1;
                }
                let (next, after) = (tokens.get(at + 1), tokens.get(at + 2));
                let previous =
                    words.last().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
                let previous = previous.as_str();
                let word = token.word().map(str::to_ascii_lowercase).unwrap_or_default();
                let ordinal = word.ends_with("th") || word == "third" || word == "fifth";
                let ends_here = after.is_none_or(|t| !matches!(t, Token::Word(_)));
                let lost = !matches!(next, Some(Token::Word(_)))
                    || in_list(next, &["to", "and", "in", "of", "from", "for"]);
                if in_list(next, &TIME)
                    && next.and_then(Token::word).is_some_and(|unit| unit.ends_with('s'))
                    && (ordinal || ["first", "second", "final", "last", "next"].contains(&previous))
                {
                    // `the second 30 seconds`
                    words.push(
                        if previous == "the" { "next stretch" } else { "stretch" }.to_owned(),
                    );
                    at += 1;
                } else if ordinal && previous == "the" && !lost {
                    words.push("next".to_owned());
                } else if previous == "the" && word == "two" {
                    words.pop();
                    words.push("both".to_owned());
                } else if previous == "number" {
                    words.pop();
                    words.push("it".to_owned());
                } else if word.starts_with("dozen") && !lost {
                    words.push("groups of".to_owned());
                } else if word == "one" && in_list(next, &["of"]) {
                    words.push("any".to_owned());
                } else if word == "one" && !lost && !["the", "each", "every"].contains(&previous) {
                    words.push("a".to_owned());
                } else if ["of", "for", "after", "within"].contains(&previous)
                    && matches!(next, Some(Token::Word(_)))
                    && (ends_here || in_list(after, &["for"]))
                {
                    // `for 30 days`
                    words.pop();
                    at += 1;
                } else if ["In", "After", "For", "Of"]
                    .iter()
                    .any(|w| words.len() == 1 && words[0] == *w)
                    && matches!(next, Some(Token::Word(_)))
                    && ends_here
                {
                    words.pop();
                    at += 1;
                } else if lost && LOSES_OBJECT.contains(&previous) {
                    // `by 12 to convert`: the preposition has lost its object.
                    words.pop();
                } else if in_list(next, &["of"]) && !words.is_empty() {
                    words.push(if token.word().is_some() { "part" } else { "some" }.to_owned());
                } else if in_list(next, &["in"]) && previous.ends_with("ing") {
                    words.push("them".to_owned());
                } else if previous == "a" && in_list(next, &TIME) && !ends_here {
                    // `a 5 day work week`
                    at += 1;
                } else if next.and_then(Token::word).is_some_and(|next| counted == Some(next)) {
                    at += 1;
                }
            }
            Token::Word(word)
                if ["therefore", "then", "thus", "hence", "only"].contains(&word.as_str()) => {}
            Token::Word(word) => words.push(word.clone()),
            Token::Unknown(name) => words.push(name.clone()),
            Token::Mark(',') if !words.is_empty() => {
                if let Some(last) = words.last_mut() {
                    last.push(',');
                }
            }
            _ => {}
        }
        at += 1;
    }
    match words.first().map(String::as_str) {
        Some("leaving") => "that leaves".clone_into(&mut words[0]),
        Some("getting") => "that gets".clone_into(&mut words[0]),
        _ => {}
    }
    words.join(" ").trim_matches([',', ' ']).to_owned()
}

/// Lower case for a first letter, unless the word is a name. Only function words and plain verbs
/// are known not to be names.
pub(super) fn lower_first(text: &str) -> String {
    const LOWER: [&str; 85] = [
        "The",
        "A",
        "An",
        "He",
        "She",
        "It",
        "They",
        "His",
        "Her",
        "Their",
        "There",
        "This",
        "That",
        "These",
        "Those",
        "In",
        "On",
        "After",
        "Before",
        "At",
        "From",
        "For",
        "Out",
        "With",
        "Without",
        "During",
        "By",
        "Tomorrow",
        "Yesterday",
        "Altogether",
        "Together",
        "Each",
        "Every",
        "All",
        "Both",
        "So",
        "Then",
        "Thus",
        "Therefore",
        "Hence",
        "Now",
        "First",
        "Next",
        "Finally",
        "And",
        "But",
        "Also",
        "Means",
        "Since",
        "If",
        "We",
        "Know",
        "Which",
        "Find",
        "Figure",
        "Divide",
        "Multiply",
        "Add",
        "Subtract",
        "Minus",
        "Calculate",
        "Let",
        "Use",
        "Convert",
        "Take",
        "Compute",
        "Count",
        "To",
        "Last",
        "Today",
        "While",
        "When",
        "Combining",
        "Everything",
        "Or",
        "As",
        "Out",
        "Again",
        "Right",
        "Each",
        "You",
        "Your",
        "Half",
        "Right",
        "Total",
    ];
    let first = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if !LOWER.contains(&first) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

pub(super) fn join(parts: &[&str]) -> String {
    let words = parts.iter().flat_map(|part| part.split_whitespace());
    words.collect::<Vec<_>>().join(" ").trim_end_matches(',').to_owned()
}

/// Whether `rest`, which follows a number and its noun, is what those do.
pub(super) fn starts_with_verb(rest: &str) -> bool {
    const VERBS: [&str; 22] = [
        "have", "has", "had", "are", "were", "is", "was", "will", "would", "can", "pop", "came",
        "come", "left", "stayed", "stay", "remain", "remained", "need", "won't", "attended", "fit",
    ];
    rest.split_whitespace().next().is_some_and(|word| VERBS.contains(&word))
        && !rest.starts_with("left to")
}
