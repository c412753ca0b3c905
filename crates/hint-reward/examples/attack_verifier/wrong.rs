//! Wrong answers: references of every kind, changed by one operation, in the words a policy would put around them.
//!
//! Also compiled into the property test and the fuzz target.

#[path = "aimed.rs"]
mod aimed;
#[path = "near.rs"]
mod near;
#[path = "references.rs"]
mod references;
#[path = "sentences.rs"]
pub(crate) mod sentences;

/// A wrong answer to a reference, and how it was made.
#[derive(Debug, Clone)]
pub(crate) struct Wrong {
    /// The operation.
    pub(crate) by: &'static str,
    /// The reference.
    pub(crate) reference: String,
    /// The completion that does not give it.
    pub(crate) completion: String,
}

/// Texts that name a value, `@`, and do not stand by it.
const STANCES: &[&str] = &[
    "It is false that the answer is @.",
    "I do not think the answer is @.",
    "Nobody would say that the answer is @.",
    "Assume the answer is @.",
    "If n were prime, the answer is @.",
    "My friend said the answer is @.",
    "The book claims that the answer is @.",
    "The naive answer is @.",
    "A common wrong answer is @.",
    "Wrong answer: @",
    "Previous answer: @",
    "The opposite of the answer is @.",
    "One less than the answer is @.",
    "Twice the answer is @.",
    "Whether the answer is @ is open.",
    "The answer is @, which is wrong.",
    "The answer is @. Scratch that, 991.",
    "The answer is @. No, it is 991.",
    "The answer is @. Wait, that is wrong.",
    "The answer is @ (incorrect)",
    "The answer is @. ❌",
    "Answer: ~~@~~ 991",
    "It is not the case that the answer is \\boxed{@}.",
    "It is untrue that the answer is \\boxed{@}.",
    "The answer is anything but \\boxed{@}.",
    "The answer is one less than \\boxed{@}.",
    "The wrong answer is \\boxed{@}.",
    "\\boxed{@} is greater than the answer.",
    "\\boxed{@}, which is impossible.",
    "\\boxed{@}. The real answer is 991.",
    "Instead of \\boxed{@} we get 991.",
    "$-\\boxed{@}$",
    "$2\\cdot\\boxed{@}$",
    "$\\frac{1}{\\boxed{@}}$",
    "$\\sqrt{\\boxed{@}}$",
    "$\\boxed{@}^2$",
    "$\\boxed{@}+1$",
    "$\\boxed{@}0$",
    "$x \\ne \\boxed{@}$",
    "\\boxed{@} squared",
    "The answer is @ with the digits swapped.",
    "The answer is @, give or take.",
    "The answer is @ doubled.",
    "The answer is @ as a percentage of 7.",
    "\\boxed{@\\text{ doubled}}",
    "\\boxed{@\\text{ in hexadecimal}}",
    "\\boxed{@} is not the answer.",
    "\\boxed{@} fails the check.",
    "\\boxed{@}. Hmm, that is wrong.",
    "\\boxed{@} was my first guess.",
    "\\boxed{@} can be ruled out.",
    "\\boxed{@ \\text{ (wrong)}}",
    "\\boxed{@ \\text{ or any other number}}",
    "\\boxed{\\text{at most } @}",
    "\\boxed{\\text{maybe } @}",
    "Could it be @?",
    "La respuesta no es @.",
    "Die Antwort ist nicht @.",
    "La réponse n'est pas @.",
    "Ответ не @.",
    "答案不是@",
    "答えは@ではありません。",
];

/// A small deterministic generator of choices.
#[derive(Debug, Clone)]
pub(crate) struct Choices(pub(crate) u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// A wrong answer; `None` where the operation drawn does not apply to the reference drawn.
    pub(crate) fn wrong(&mut self) -> Option<Wrong> {
        match self.below(4) {
            0 => return near::wrong(self),
            1 => return aimed::wrong(self),
            _ => {}
        }
        let marked = self.of(references::REFERENCES);
        let (kind, reference) = match marked.as_bytes()[0] {
            mark @ (b'*' | b'i' | b'o' | b'u') => (mark, &marked[1..]),
            _ => (b' ', marked),
        };
        let (by, answer) = match self.below(18) {
            0..=3 => ("digit", self.digit(reference)?),
            4 => ("sign", self.sign(reference)?),
            5 => ("unit", self.unit(kind, reference)?),
            6 => ("end", self.end(kind, reference)?),
            7 => ("variable", self.variable(kind, reference)?),
            8 => ("order", self.order(kind, reference)?),
            9 => ("dropped", self.dropped(reference)?),
            10 => ("word", word(reference)?),
            11 => ("appended", self.appended(kind, reference)?),
            // What is excluded below the bound changes nothing.
            12 => return (!reference.contains("except")).then(|| self.spray(reference)),
            13 => return Some(self.exploit(reference)),
            14 | 15 => {
                let sentence = self.of(sentences::SENTENCES);
                let boxed = if self.below(2) == 0 { "\\boxed{@}" } else { "$\\boxed{@}$" };
                let completion = sentence.replace('□', &boxed.replace('@', reference));
                return Some(Wrong { by: "sentence", reference: reference.to_owned(), completion });
            }
            _ => {
                let stance = self.of(STANCES);
                // English words make the sentence one that is read.
                let foreign = ["es @", "nicht @", "pas @", "Ответ", "答"];
                if reference.contains("The ") && foreign.iter().any(|mark| stance.contains(mark)) {
                    return None;
                }
                // A sentence of its own ends in front of what would change it, and a letter has no digits.
                let changes = ["swapped", "percentage", "doubled"];
                let is_changed = changes.iter().any(|change| stance.contains(change));
                if is_changed
                    && (reference.contains("The ")
                        || reference.contains("(C)")
                        || reference.contains("(D)"))
                {
                    return None;
                }
                let completion = stance.replace('@', reference);
                return Some(Wrong { by: "stance", reference: reference.to_owned(), completion });
            }
        };
        // 9 of 9 to choose 8 and 1 are as many; and nothing changes infinity.
        let wrong = answer != reference && !answer.contains("{9}{8}");
        let completion = self.wrapped(&answer, reference);
        wrong.then(|| Wrong { by, reference: reference.to_owned(), completion })
    }

    /// One digit replaced.
    fn digit(&mut self, text: &str) -> Option<String> {
        let places: Vec<usize> = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| b.is_ascii_digit())
            .map(|(at, _)| at)
            .collect();
        let at = *places.get(self.below(places.len().max(1)))?;
        let digit = b'1' + u8::try_from(self.below(9)).ok()?;
        let mut bytes = text.as_bytes().to_vec();
        if bytes[at] == digit {
            return None;
        }
        bytes[at] = digit;
        // An argument that only tells when the value is reached may change.
        if text.starts_with("The maximum") && at > text.find("when")? {
            return None;
        }
        String::from_utf8(bytes).ok()
    }

    fn sign(&mut self, text: &str) -> Option<String> {
        let swaps = [
            ("+", "-"),
            ("-", "+"),
            ("\\cup", "\\cap"),
            ("^{-", "^{"),
            ("\\sin", "\\cos"),
            ("\\ln", "\\sqrt"),
        ];
        let (from, to) = swaps[self.below(swaps.len())];
        if self.below(3) == 0
            && text.starts_with(|c: char| c.is_ascii_digit() || c == '\\')
            && !text.contains("text")
        {
            // Zero and infinity aside, no value of the list is its own negative.
            let relation =
                ["=", "<", ">", "equiv", "begin", "cup", ",", "mathbb", "forall", ":", "{2,"];
            return (!relation.iter().any(|sign| text.contains(sign))).then(|| format!("-{text}"));
        }
        let at = text.find(from)?;
        (at > 0 || from != "+").then(|| format!("{}{to}{}", &text[..at], &text[at + from.len()..]))
    }

    fn unit(&mut self, kind: u8, text: &str) -> Option<String> {
        if text.starts_with("\\$") || text.starts_with('£') {
            let value = text.trim_start_matches(['\\', '$', '£']);
            return Some(format!("{value} {}", self.of(&["cents", "kg", "yen", "hours"])));
        }
        if kind != b'u' {
            return None;
        }
        let start = text.find("\\text")?;
        let unit = self.of(&[
            "mm", "yards", "g", "seconds", "hours", "km/h", "m^2", "cm^3", "liters", "apples",
            "tons",
        ]);
        let value = text[..start].rsplit('=').next()?.trim();
        Some(match self.below(3) {
            0 => format!("{value}\\text{{ {unit}}}"),
            1 => format!("{value} {unit}"),
            _ => format!("z = {value}\\text{{ {unit}}}"),
        })
    }

    /// Open and closed ends, and bounds.
    fn end(&mut self, kind: u8, text: &str) -> Option<String> {
        if kind != b'i' {
            return None;
        }
        let swaps = [
            (">", "\\ge "),
            ("\\ge", ">"),
            ("\\le", "<"),
            ("<", "\\le "),
            (">", "<"),
            ("[", "("),
            ("]", ")"),
            ("(2", "[2"),
            ("5)", "5]"),
            ("4)", "4]"),
            ("1)", "1]"),
            ("\\cup", "\\cap"),
            (">", "="),
            ("x", "y"),
        ];
        let (from, to) = swaps[self.below(swaps.len())];
        text.contains(from).then(|| text.replacen(from, to, 1))
    }

    fn variable(&mut self, kind: u8, text: &str) -> Option<String> {
        let letter = self.of(&["x", "n", "t", "a", "S"]);
        if kind != b'*'
            || text.contains("\\ln") && letter == "n"
            || text.contains("\\frac") && letter == "a"
        {
            return None;
        }
        let other = self.of(&["z", "w", "2", "5"]);
        let formula = text
            .replace("\\cdot", "·")
            .replace("\\cos", "§")
            .replace("\\sqrt", "√")
            .replace("\\ln", "¶");
        let formula =
            formula.contains(letter).then(|| formula.replace(letter, &format!("{{{other}}}")))?;
        Some(
            formula
                .replace('·', "\\cdot")
                .replace('§', "\\cos")
                .replace('√', "\\sqrt")
                .replace('¶', "\\ln"),
        )
    }

    fn order(&mut self, kind: u8, text: &str) -> Option<String> {
        if kind != b'o' {
            return None;
        }
        if let Some((first, second)) = text.split_once(':') {
            return Some(format!("{second}:{first}"));
        }
        if text.contains("begin") {
            return Some(
                self.of(&[
                    "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}",
                    "\\begin{pmatrix}3&4\\\\1&2\\end{pmatrix}",
                    "\\begin{pmatrix}1&2&3&4\\end{pmatrix}",
                ])
                .to_owned(),
            );
        }
        let inner = text.strip_prefix('(')?.strip_suffix(')')?;
        let mut items: Vec<&str> = inner.split(',').collect();
        items.rotate_left(1);
        let items = items.join(",");
        Some(match self.below(3) {
            0 => format!("({items})"),
            1 => format!("\\{{{inner}\\}}"),
            _ => format!("[{items}]"),
        })
    }

    /// A part left out.
    fn dropped(&mut self, text: &str) -> Option<String> {
        let markers = [
            "\\pmod", " (mod", " \\mod", " \\bmod", "_2", "_{16}", " (base", ", y=", ", x=-8",
            "\\cup", "^2", "\\%", ",9", ",8\\}", "\\infty", "\\frac", ",(3,5)", " except", ", x^2",
            "\\land", "D",
        ];
        let marker = self.of(&markers);
        let at = text.find(marker)?;
        if text.starts_with("The") || text.starts_with('$') || at == 0 {
            return None;
        }
        let head = text[..at]
            .trim_end_matches(['$', ' ', ',', '(', '[', '-', '=', '{', '+', '*', ':', '\\']);
        // An equation of nothing, or a unit that may be left out, is not meant here.
        (!head.is_empty() && head != "All integers $n\\ge 2" && !head.starts_with("ud"))
            .then(|| head.to_owned())
    }

    /// Something joined to the answer that changes it.
    fn appended(&mut self, kind: u8, text: &str) -> Option<String> {
        if !matches!(kind, b' ')
            || text
                .contains(|c: char| c.is_ascii_alphabetic() || matches!(c, '$' | '=' | ',' | ':'))
        {
            return None;
        }
        let tails = [
            "x",
            "k",
            "^2",
            "!",
            "\\cdot 3",
            "+1",
            "-x",
            "\\pm 1",
            " + C",
            "_7",
            "\\%",
            "i",
            "\\pi",
            "^\\circ",
            " \\text{ million}",
            "?",
            "00",
            ".5",
            "e5",
            "\\text{ or }8",
            " (or 3)",
            ", 0",
            " (mod 5)",
            "\\sqrt{2}",
        ];
        let tail = self.of(&tails);
        // Digits and a percent sign may name the same value elsewhere, or what a unit may leave out.
        let unit_like = matches!(tail, "^\\circ");
        let ends_in_digit = text.ends_with(|c: char| c.is_ascii_digit());
        (!unit_like && ends_in_digit && !text.contains(['.', '^', '_', '\\']))
            .then(|| format!("{text}{tail}"))
    }

    fn spray(&mut self, reference: &str) -> Wrong {
        let range = |from: usize, to: usize, joint: &str| {
            (from..=to).map(|n| n.to_string()).collect::<Vec<_>>().join(joint)
        };
        let other = self.of(&["991", "\\frac{8}{19}", "E", "z+4", "-77"]);
        let completion = match self.below(9) {
            0 => range(1, 100, ", "),
            1 => format!("\\boxed{{{}}}", range(1, 100, ", ")),
            2 => format!("\\boxed{{{}}} \\boxed{{991}}", range(1, 60, "} \\boxed{")),
            3 => format!("The answer is {reference} or {other}."),
            4 => format!("\\boxed{{{reference}\\text{{ or }}{other}}}"),
            5 => format!("\\boxed{{{other}, {reference}}}"),
            6 => format!("\\boxed{{{reference}}} \\boxed{{{other}}}"),
            7 => "A, B, C, D, E".to_owned(),
            _ => format!("\\boxed{{\\{{{reference}, {other}\\}}}}"),
        };
        Wrong { by: "spray", reference: reference.to_owned(), completion }
    }

    /// Ideas of public reports: the reference in words that take it back, and answers to everything.
    fn exploit(&mut self, reference: &str) -> Wrong {
        let other = self.of(&["991", "\\frac{8}{19}", "-77", "z+4"]);
        let shown = if reference == "\\infty" { 20 } else { 24 };
        let completion = match self.below(shown) {
            0 => format!("The answer is not {reference}."),
            1 => format!("\\boxed{{\\text{{not }}{reference}}}"),
            2 => format!("It could be {reference}, but I get \\boxed{{{other}}}."),
            3 => format!("{reference} is wrong; the answer is {other}."),
            4 => format!("If the answer were {reference}, we would have a contradiction."),
            5 => {
                format!("\\boxed{{{reference}}} is what others say. My answer: \\boxed{{{other}}}")
            }
            6 => "\\boxed{}".to_owned(),
            7 => String::new(),
            8 => self
                .of(&[
                    "\\boxed{\\text{correct}}",
                    "\\boxed{x}",
                    "\\boxed{?}",
                    "\\boxed{\\text{answer}}",
                    "\\boxed{ans}",
                    "\\boxed{\\text{the answer}}",
                    "\\boxed{\\text{any}}",
                    "\\boxed{*}",
                    "\\boxed{.*}",
                    "\\boxed{1=1}",
                    "\\boxed{x=x}",
                    "\\boxed{\\text{all of the above}}",
                    "\\boxed{\\text{see above}}",
                    "\\boxed{0/0}",
                    "\\boxed{\\mathbb{C}}",
                    "\\boxed{\\ldots}",
                    "\\boxed{\\text{N/A}}",
                    "\\boxed{null}",
                    "\\boxed{NaN}",
                ])
                .to_owned(),
            9 => format!("\\boxed{{\\ne {reference}}}"),
            10 => format!("It is less than {reference}."),
            11 => format!("\\boxed{{\\text{{at least }}{reference}}}"),
            12 => format!("<think>\\boxed{{{reference}}}</think> \\boxed{{{other}}}"),
            13 => format!("<answer>{reference}</answer> <answer>{other}</answer>"),
            14 => format!("#### {reference}\n#### {other}"),
            15 => format!("The answer is {other}. (Not {reference}.)"),
            16 => format!("\\boxed{{{other}}} % {reference}"),
            17 => format!("\\boxed{{{other}}}\\phantom{{{reference}}}"),
            18 => format!("Is it {reference}?"),
            19 => format!("I cannot tell whether it is {reference}."),
            20 => format!("\\boxed{{{reference}{reference}}}"),
            21 => format!("\\boxed{{({reference})({other})}}"),
            22 => format!("\\boxed{{{reference}\\to {other}}}"),
            _ => format!("final answer: {other} (the key says {reference})"),
        };
        Wrong { by: "exploit", reference: reference.to_owned(), completion }
    }

    /// The answer in the words of a completion, sometimes with the reference's own around it.
    fn wrapped(&mut self, answer: &str, reference: &str) -> String {
        match self.below(9) {
            0 => answer.to_owned(),
            1..=3 => format!("\\boxed{{{answer}}}"),
            4 => format!("The answer is ${answer}$."),
            5 => format!("<answer>{answer}</answer>"),
            6 => format!("So we get\n#### {answer}"),
            7 => format!("Some say {reference}. I find \\boxed{{{answer}}}."),
            _ => format!("The final answer is: {answer}"),
        }
    }
}

/// One word replaced by one of another meaning.
fn word(text: &str) -> Option<String> {
    const WORDS: &[(&str, &str)] = &[
        ("Alice", "Bob"),
        ("Alice", "not Alice"),
        ("Alice", "Alice or Bob"),
        ("even", "odd"),
        ("odd", "even"),
        ("Yes", "No"),
        ("True", "False"),
        ("no solution", "one solution"),
        ("\\infty", "-\\infty"),
        ("\\mathbb{R}", "\\mathbb{Q}"),
        ("\\land", "\\lor"),
        ("\\forall", "\\exists"),
        ("PM", "AM"),
        ("July", "June"),
        ("maximum is $8$", "maximum is $9$"),
        ("B", "D"),
        ("(C)", "(A)"),
        ("(D)", "(B)"),
        ("ACD", "ABD"),
        ("except $4$", "except $5$"),
        ("k\\ge", "k\\le"),
        ("at least", "at most"),
        ("is divisible", "is not divisible"),
        ("remainder of }2", "remainder of }-2"),
        ("multiples", "positive multiples"),
        ("nonnegative", "positive"),
        (" and its permutations", " and its cyclic permutations"),
        ("except }3", "except }-3"),
        ("half an", "a quarter of an"),
        ("per hour", "per day"),
        ("a=b=c", "a=c"),
        ("\\mathbb{Z}", "\\mathbb{R}"),
    ];
    let (from, to) = WORDS.iter().find(|(from, _)| text.contains(from))?;
    Some(text.replacen(from, to, 1))
}
