//! Reading the numbers of a text.

use crate::number::mention::NumberMention;
use crate::number::scan::Scan;
use crate::number::word;

/// Every number that `text` mentions, from left to right; none overlaps another.
///
/// Digits count in every notation (`1,250.75`, `.5`, `3/4`, `\frac{3}{4}`, `½`, `50%`). Words count
/// as cardinals (`seven`, `two hundred and fifty`, `3 million`), fractions (`half`, `two thirds`)
/// and multiples (`twice`). Digits inside a name (`x_1`, `H2`) do not count, and neither do
/// `first`, `second`, `pair`, `couple`, `both` and articles.
///
/// ```
/// use hint_reward::number::{NumberRole, numbers_in};
///
/// let text = "Step 2: give two thirds of the 1,200 eggs away.";
/// let found = numbers_in(text).into_iter();
/// let found = found.map(|m| (&text[m.span.clone()], m.readings[0].to_string(), m.role));
/// assert_eq!(
///     found.collect::<Vec<_>>(),
///     [
///         ("2", "2".to_owned(), NumberRole::Label),
///         ("two thirds", "2/3".to_owned(), NumberRole::Fraction),
///         ("1,200", "1200".to_owned(), NumberRole::Quantity),
///     ]
/// );
/// ```
pub fn numbers_in(text: &str) -> Vec<NumberMention> {
    Scan::new(text).mentions()
}

/// Whether `word` (letters only) is a number word.
pub fn is_number_word(word: &str) -> bool {
    word::word(&word.to_lowercase()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::mention::NumberRole;
    use crate::number::value::ExactNumber;

    /// `expected`: the findings, as `text=value` for quantities, `text=value:role` for others.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = numbers_in(text).into_iter().map(|mention| {
            let role = match mention.role {
                NumberRole::Quantity => String::new(),
                role => format!(":{role:?}").to_lowercase(),
            };
            format!("{}={}{role}", &text[mention.span.clone()], mention.readings[0])
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn digits_are_found_in_every_notation() {
        check("costs $1,250.75 today", &["1,250.75=5003/4"]);
        check("about .5 of it", &[".5=1/2"]);
        check("3/4 of them, 1, 2", &["3/4=3/4", "1=1", "2=2"]);
        check("a 36-minute call of 5cm", &["36=36", "5=5"]);
        check(r"$\frac{3}{4}$ and \dfrac12", &[r"\frac{3}{4}=3/4", r"\dfrac12=1/2"]);
        check("2½ cups, ¾ of it", &["2½=5/2", "¾=3/4"]);
        check("from -5 to 3-2, (−1)", &["-5=-5", "3=3", "2=2", "−1=-1"]);
        check("3 million and 2 dozen", &["3 million=3000000", "2 dozen=24"]);
    }

    #[test]
    fn percentages_have_two_readings_and_fractions_have_parts() {
        let [mention] = &numbers_in("50% of it")[..] else { panic!("one number") };
        assert!(mention.is(&ExactNumber::whole(50)) && mention.is(&ExactNumber::part(2)));
        let [mention] = &numbers_in("3/4")[..] else { panic!("one number") };
        assert_eq!(mention.parts, [ExactNumber::whole(3), ExactNumber::whole(4)]);
    }

    #[test]
    fn number_words_are_found_alone_and_combined() {
        check("Twenty-one cats", &["Twenty-one=21"]);
        check("two hundred and fifty", &["two hundred and fifty=250"]);
        check("three thousand forty", &["three thousand forty=3040"]);
        check("two dozen eggs", &["two dozen=24"]);
        check("two and three", &["two=2", "three=3"]);
        check("three quarters of it", &["three quarters=3/4:fraction"]);
        check("two-thirds, half", &["two-thirds=2/3:fraction", "half=1/2:fraction"]);
        check("two and a half hours", &["two and a half=5/2:fraction"]);
        check("a third of it", &["third=1/3:fraction"]);
        check("one hundred, one of them", &["one hundred=100", "one=1:loose"]);
        check("twice as many, halved", &["twice=2:loose", "halved=1/2:loose"]);
    }

    #[test]
    fn places_labels_years_and_formulas_are_told_from_quantities() {
        check("the 3rd and the fifth term", &["3rd=3:ordinal", "fifth=1/5:ordinal"]);
        check("1. Add.\n  2) Multiply.", &["1=1:label", "2=2:label"]);
        check("Step 2: see case 1", &["2=2:label", "1=1:label"]);
        check("(1) add, (2) halve, (7)", &["1=1:label", "2=2:label", "halve=1/2:loose", "7=7"]);
        check("there are two cases", &["two=2:label"]);
        check("no two of the three", &["two=2:loose", "three=3:loose"]);
        check("modulo 4, divisible by 9", &["4=4:formula", "9=9:formula"]);
        check("In 2019, as in March 2015.", &["2019=2019:year", "2015=2015:year"]);
        check("in 2019 steps", &["2019=2019"]);
        check("2x + x^3 = 60", &["2=2:formula", "3=3:formula", "60=60"]);
    }

    #[test]
    fn words_that_only_order_or_describe_are_no_numbers() {
        check("First add, then in a second step a pair of both", &[]);
        check("x_1 + a2, x_{10}, often weighty", &[]);
    }

    #[test]
    fn odd_texts_do_not_panic_and_spans_are_in_order() {
        let pieces = [
            "1", "/", "2", ".", ",", "\\frac", "{", "½", "-", "one", "hundred", "and", "half",
            "th", "é", " ", "_", "^", "%",
        ];
        for index in 0..pieces.len().pow(4) {
            let at = |power: u32| pieces[index / pieces.len().pow(power) % pieces.len()];
            let text = [at(0), at(1), at(2), at(3)].concat();
            let mut end = 0;
            for mention in numbers_in(&text) {
                assert!(mention.span.start >= end && mention.span.end > mention.span.start);
                assert!(text.get(mention.span.clone()).is_some(), "{text}");
                end = mention.span.end;
            }
        }
    }
}
