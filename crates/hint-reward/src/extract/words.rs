//! The words that may stand around a stated answer, each list in one place.
//!
//! Words that doubt a statement or take it back are in [`crate::math::parse::stance`].

/// Words that lead to a value: link verbs, and what may stand between them and the value.
#[rustfmt::skip]
pub(super) const LEADS: &[&str] = &[
    "is", "are", "was", "were", "be", "equals", "equal", "has", "have", "contains", "needs", "need",
    "costs", "cost", "takes", "gives", "give", "giving", "get", "gets", "obtain", "obtains", "find", "yields",
    "yield", "yielding", "makes", "make", "making", "leaves", "leaving", "remain", "remains", "becomes",
    "totals", "conclude", "us", "her", "him", "them", "so", "thus", "therefore", "hence", "then", "finally",
    "consequently", "accordingly", "overall", "altogether", "indeed", "also", "again", "now", "here", "exactly",
    "just", "only", "simply", "clearly", "about", "approximately", "roughly", "namely", "equivalently",
    "holds", "hold", "weighs", "weigh", "earns", "earn", "earned", "pays", "pay", "paid", "saves", "save", "saved",
    "spends", "spend", "spent", "scores", "scored", "requires", "require", "measures", "travels", "walks", "drives",
    "uses", "eats", "ate", "sells", "sold", "buys", "bought", "collects", "collected", "receives", "received",
    "owes", "produces", "lasts", "covers", "needed", "written",
    "answer", "answers", "ans", "result", "solution", "solutions", "total", "value", "option", "choice", "a",
    "an", "the", "that", "it's", "that's", "correcting", "step", "case", "part", "output", "conclusion",
    "summary", "check", "because",
];

/// Nouns that lead to their value behind an article: `a total of`, `an area of`.
#[rustfmt::skip]
pub(super) const MEASURES: &[&str] = &[
    "total", "value", "area", "volume", "length", "speed", "perimeter", "probability", "sum",
];

/// Nouns that name a mathematical object in front of it: `is the point`.
#[rustfmt::skip]
pub(super) const OBJECTS: &[&str] = &[
    "point", "pair", "triple", "set", "interval", "line", "circle", "function", "matrix", "vector", "polynomial",
    "number", "integer", "fraction", "equation", "ratio", "tuple",
];

/// Participles that tell in front of a comma how a value was found: `Completing the square,`.
#[rustfmt::skip]
pub(super) const STEPS: &[&str] = &[
    "solving", "simplifying", "completing", "expanding", "factoring", "factorising", "factorizing", "adding",
    "substituting", "combining", "integrating", "differentiating", "evaluating", "rearranging", "computing",
    "calculating", "summing", "rationalizing", "rationalising", "collecting", "cancelling", "canceling", "converting",
    "multiplying", "dividing", "subtracting", "squaring",
];

/// Words of a sentence that announces an answer.
#[rustfmt::skip]
pub(super) const ANNOUNCING: &[&str] = &[
    "so", "thus", "therefore", "hence", "then", "finally", "and", "but", "that", "as", "is", "are", "to", "be",
    "the", "my", "our", "this", "an", "a", "your", "final", "real", "correct", "right", "required", "desired",
    "requested", "exact", "numerical", "numeric", "simplified", "complete", "full", "overall", "short", "best",
    "only", "actual", "resulting", "accepted", "true", "closed-form", "closed", "form", "unique", "own",
    "answer", "answers", "ans", "option", "choice", "solution", "result", "get", "gives", "give", "us", "we",
    "have", "obtain", "find", "conclude", "means", "implies", "see", "know", "believe", "think", "shows",
    "follows", "ultimately", "consequently", "accordingly", "in", "conclusion", "summary", "total", "clearly",
    "indeed", "now", "here", "yields", "it", "i", "problem", "question", "equal", "equals", "exactly", "turns",
    "out", "must", "should", "value", "of", "which", "there", "i'm", "am", "sure", "confident", "certain",
    "easy", "clear", "step", "0",
];

/// Words for an answer.
pub(super) const ANSWERS: &[&str] = &["answer", "answers", "answer's", "option", "choice"];

/// Words in front of `that` which assert the clause behind it.
#[rustfmt::skip]
pub(super) const ASSERTING: &[&str] = &[
    "see", "clear", "know", "known", "conclude", "find", "found", "have", "get", "means", "follows", "implies",
    "shows", "show", "note", "notice", "observe", "deduce", "obtain", "verify", "confirm", "sure", "confident",
    "certain", "fact", "such", "given", "so", "now", "us", "tells", "out", "inequality", "theorem", "check", "number", "integer", "value",
];

/// Words that begin a sentence which explains or checks the answer in front of it.
#[rustfmt::skip]
pub(super) const EXPLAINING: &[&str] = &[
    "check", "checking", "double-checking", "double", "verify", "verification", "verifying", "indeed", "note",
    "here", "where", "since", "because", "recall", "explanation", "reason", "proof", "we", "to", "let", "this",
    "hence", "i", "end", "done",
];

/// Words that close a statement and leave its value unchanged.
#[rustfmt::skip]
pub(super) const CLOSING: &[&str] = &[
    "the", "a", "an", "is", "are", "was", "be", "it", "this", "that", "these", "which", "our", "my", "we", "i",
    "your", "his", "her", "its", "final", "correct", "right", "true", "required", "desired", "needed", "wanted",
    "asked", "requested", "expected", "claimed", "stated", "shown", "proved", "obtained", "found", "reached",
    "attained", "answer", "answers", "solution", "solutions", "result", "value", "values", "number", "integer",
    "total", "sum", "only", "unique", "such", "as", "of", "to", "for", "in", "all", "and", "so", "thus",
    "hence", "therefore", "indeed", "altogether", "again", "here", "hope", "done", "finished", "qed",
    "completes", "complete", "concludes", "proof", "problem", "question", "check", "checked", "verified",
    "approximately", "about", "roughly", "equivalently", "e", "what", "above", "ways", "works", "remain",
    "remains", "left", "even", "odd", "prime", "positive", "rational", "thank", "you", "smallest", "largest", "them",
];

/// Words that begin a reason or an origin in the sentence of a value.
#[rustfmt::skip]
pub(super) const REASONS: &[&str] = &[
    "since", "because", "as", "where", "when", "which", "by", "so", "hence", "thus", "therefore", "attained",
    "achieved", "obtained", "reached", "see", "here",
];

/// Words with a preposition that together lead to a value: `equal to`, `given by`.
#[rustfmt::skip]
pub(super) const LEADING_PAIRS: &[(&str, &str)] = &[
    ("equal", "to"), ("equals", "to"), ("comes", "to"), ("come", "to"), ("amounts", "to"), ("up", "to"),
    ("down", "to"), ("simplifies", "to"), ("evaluates", "to"), ("reduces", "to"), ("sums", "to"),
    ("leads", "to"), ("given", "by"), ("arrive", "at"), ("left", "with"),
    ("is", "at"), ("are", "at"), ("intersect", "at"), ("located", "at"), ("meet", "at"), ("meets", "at"), ("ends", "at"), ("starts", "at"), ("begins", "at"), ("arrives", "at"), ("leaves", "at"), ("falls", "on"),
    ("falls", "by"), ("rises", "by"), ("drops", "by"), ("increases", "by"), ("decreases", "by"), ("written", "as"),
    ("expressed", "as"),
];
