//! The task of the tiny model: following five letters through swaps.
//!
//! A problem gives a row of five different letters and a number of swaps, its level. The answer is the row in
//! the end. A shallow transformer cannot compose permutations of five things in one pass. It can do so easily
//! once it writes the row after each swap. The tiny model was trained so that it *can* do the latter, but
//! without a hint answers at once; see [`pretrain`](super::pretrain). The Meta-Hints are sentences that name
//! the strategy and nothing of the row.

use hint_policy::{PolicyError, Tokenizer};
use hint_rollout::{Problem, Seed};

use super::vocabulary;

/// Text before and after the question (and hint).
pub(crate) const FRAME: (&str, &str) = ("Q: ", "\nA:");

/// Text between question and hint.
pub(crate) const HINT_INTRODUCTION: &str = "\nHint: ";

/// The Meta-Hints, as good as each other.
pub(crate) const HINTS: [&str; 3] =
    ["Write the row after each swap.", "Go one swap at a time.", "Keep track of every swap."];

/// Levels that training and held-out problems have.
pub(crate) const LEVELS: std::ops::RangeInclusive<usize> = 4..=6;

/// Problems to train on.
const TRAIN_PROBLEMS: usize = 4096;

const LETTERS: [char; 5] = ['A', 'B', 'C', 'D', 'E'];

/// One problem in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Swaps {
    start: [char; 5],
    swaps: Vec<(char, char)>,
}

impl Swaps {
    /// A problem of `level` swaps, none of which undoes the one before. `seed` decides all of it.
    pub(crate) fn draw(level: usize, seed: Seed) -> Self {
        let mut numbers = Numbers { seed, next: 0 };
        let mut start = LETTERS;
        for index in (1..start.len()).rev() {
            start.swap(index, numbers.below(index + 1));
        }
        let mut swaps: Vec<(char, char)> = Vec::with_capacity(level);
        while swaps.len() < level {
            let first = numbers.below(5);
            let second = (first + 1 + numbers.below(4)) % 5;
            let swap = (LETTERS[first], LETTERS[second]);
            let undoes = |last: &(char, char)| *last == swap || *last == (swap.1, swap.0);
            if !swaps.last().is_some_and(undoes) {
                swaps.push(swap);
            }
        }
        Self { start, swaps }
    }

    /// Like [`Swaps::draw`], but only problems that are, or are not, in the held-out eighth of all.
    pub(crate) fn draw_from(level: usize, held_out: bool, seed: Seed) -> Self {
        let mut attempt = 0;
        loop {
            let swaps = Self::draw(level, seed.child(attempt));
            if swaps.is_held_out() == held_out {
                return swaps;
            }
            attempt += 1;
        }
    }

    /// Whether the problem belongs to the eighth that is never trained on, neither by
    /// `pretrain-tiny` nor by `train`.
    pub(crate) fn is_held_out(&self) -> bool {
        crc32fast::hash(self.question().as_bytes()).is_multiple_of(8)
    }

    /// `Row BAEDC. Swaps 1:DC 2:DE.`
    pub(crate) fn question(&self) -> String {
        let start = self.start.iter().collect::<String>();
        let swaps = (1..).zip(&self.swaps);
        let swaps = swaps.map(|(number, (first, second))| format!(" {number}:{first}{second}"));
        format!("Row {start}. Swaps{}.", swaps.collect::<String>())
    }

    /// The row after each swap.
    fn rows(&self) -> Vec<String> {
        let mut row = self.start;
        let apply = |&(first, second): &(char, char)| {
            for letter in &mut row {
                *letter = match *letter {
                    letter if letter == first => second,
                    letter if letter == second => first,
                    letter => letter,
                };
            }
            row.iter().collect()
        };
        self.swaps.iter().map(apply).collect()
    }

    /// The row in the end.
    pub(crate) fn answer(&self) -> String {
        self.rows().pop().unwrap_or_else(|| self.start.iter().collect())
    }

    /// The completion that answers at once: ` \boxed{DBECA}`.
    pub(crate) fn direct(&self) -> String {
        format!(" \\boxed{{{}}}", self.answer())
    }

    /// The completion that works step by step: ` 1:BAECD 2:BADCE \boxed{BADCE}`.
    pub(crate) fn worked(&self) -> String {
        let rows = (1..).zip(self.rows()).map(|(number, row)| format!(" {number}:{row}"));
        rows.collect::<String>() + &self.direct()
    }

    fn problem(&self, hint: &str) -> Problem {
        let question = self.question();
        Problem::new(question.clone(), question, self.answer())
            .with_level(self.swaps.len().to_string())
            .with_hint(hint)
            .with_solution(self.worked())
    }
}

/// Problems to train on, and `held_out` others. The same at every call.
pub fn problems(held_out: usize) -> (Vec<Problem>, Vec<Problem>) {
    let make = |count: usize, held_out: bool, seed: Seed| {
        let levels = LEVELS.cycle();
        let mut problems = std::collections::BTreeMap::new();
        for (level, index) in levels.zip(0_u64..) {
            if problems.len() == count {
                break;
            }
            let swaps = Swaps::draw_from(level, held_out, seed.child(index));
            let hint = HINTS[problems.len() % HINTS.len()];
            let problem = swaps.problem(hint);
            problems.entry(problem.id.clone()).or_insert(problem);
        }
        problems.into_values().collect::<Vec<_>>()
    };
    let seed = Seed::new(0).named("swaps");
    (make(TRAIN_PROBLEMS, false, seed.named("train")), make(held_out, true, seed.named("held out")))
}

/// Words that are one token, with the space or line break before them; everything else is spelt.
fn words() -> Vec<String> {
    let mut words =
        ["Q:", " Row", " Swaps", "\nHint:", "\nA:", " \\boxed{"].map(String::from).to_vec();
    words.extend((1..=9).map(|number| format!(" {number}:")));
    for hint in HINTS {
        words.extend(hint.trim_end_matches('.').split(' ').map(|word| format!(" {word}")));
    }
    words.sort();
    words.dedup();
    words
}

/// The tokenizer of the tiny model.
///
/// # Errors
///
/// As [`vocabulary::tokenizer`].
pub(crate) fn tokenizer() -> Result<Tokenizer, PolicyError> {
    vocabulary::tokenizer(words())
}

/// An endless stream of numbers from a seed.
struct Numbers {
    seed: Seed,
    next: u64,
}

impl Numbers {
    /// A number below `bound`, which is small enough for the bias of the remainder not to matter.
    fn below(&mut self, bound: usize) -> usize {
        let value = self.seed.child(self.next).value();
        self.next += 1;
        usize::try_from(value % bound as u64).expect("a remainder of a usize fits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_follow_the_swaps() {
        let swaps = Swaps { start: ['B', 'A', 'E', 'D', 'C'], swaps: vec![('D', 'C'), ('D', 'E')] };
        assert_eq!(swaps.question(), "Row BAEDC. Swaps 1:DC 2:DE.");
        assert_eq!(swaps.worked(), " 1:BAECD 2:BADCE \\boxed{BADCE}");
        assert_eq!(swaps.direct(), " \\boxed{BADCE}");
    }

    #[test]
    fn training_and_held_out_problems_are_disjoint_and_of_all_levels() {
        let (train, held_out) = problems(200);
        assert_eq!((train.len(), held_out.len()), (TRAIN_PROBLEMS, 200));
        let ids = train.iter().map(|problem| &problem.id).collect::<std::collections::HashSet<_>>();
        assert!(held_out.iter().all(|problem| !ids.contains(&problem.id)));
        for level in LEVELS {
            let level = level.to_string();
            let of_level = |problem: &&Problem| problem.level.as_ref() == Some(&level);
            assert!(held_out.iter().filter(of_level).count() > 50);
        }
    }

    #[test]
    fn the_examples_train_on_the_first_problems() {
        let file = super::super::tiny_model().join("problems.jsonl");
        let committed = hint_rollout::read_problems(file).unwrap();
        assert_eq!(committed, problems(0).0[..256]);
    }

    #[test]
    fn no_hint_tells_anything_of_a_row() {
        let (train, _) = problems(1);
        for problem in train {
            let hint = problem.hint.expect("every problem has a hint");
            assert!(!hint.contains(&problem.answer));
            assert!(!hint.bytes().any(|byte| byte.is_ascii_digit()));
        }
    }

    #[test]
    fn texts_survive_the_tokenizer_and_words_are_one_token() {
        let tokenizer = tokenizer().expect("the tokenizer is valid");
        for index in 0..20 {
            let swaps = Swaps::draw(5, Seed::new(1).child(index));
            let text = format!("Q: {}\nHint: {}\nA:{}", swaps.question(), HINTS[0], swaps.worked());
            let tokens = tokenizer.encode(&text).expect("every character is known");
            assert_eq!(tokenizer.decode(&tokens).expect("every id is known"), text);
            assert!(tokens.len() < 80, "{}", tokens.len());
        }
    }
}
