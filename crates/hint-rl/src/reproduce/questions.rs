//! Q1 and Q2: the questions of a reproduction, each as a difference of two arms.

use anyhow::Result;
use serde_json::{Value, json};

use super::html::Table;
use super::report::{At, METHOD, Report, difference, p_value};
use super::results::{RunResult, Slice, part_name};
use super::stats::{Paired, holm};

/// A question: an arm, the arm that it is compared with, and what the difference answers.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("hint", "grpo", "does HINT help"),
    ("hint", "hint_placebo", "does the content of a hint matter that is sampled under"),
    ("hint", "hint_unrelated", "does it matter that such a hint is about a problem"),
    ("hint", "hint_lambda_0", "does the Affinity weight help"),
    ("hint", "hint_v1", "does the weight of the paper do better than the code's first one"),
    ("hint", "teach", "does sampling under the hint do better than scoring under it"),
    ("hint_and_teach", "teach", "does sampling under the hint help where it teaches"),
    ("teach", "grpo", "does a hint that teaches help"),
    ("teach", "teach_placebo", "does the content of a hint matter that teaches"),
    ("teach", "teach_unrelated", "does it matter that such a hint is about a problem"),
    ("teach_always", "teach", "should hints teach groups with a success"),
    ("hint_always", "hint", "should groups with a success be sampled again"),
    ("hint_hinted_ratio", "hint", "should the ratio be of the hinted prompt"),
    ("hint_off_context", "hint", "should the ratio be across the prompts"),
    ("hint_union", "hint", "should the baseline be of both groups"),
    ("hint_medium", "hint", "does a medium hint help more"),
    ("hint_direct", "hint", "does a direct hint help more"),
    ("teach_medium", "teach", "does a medium hint teach more"),
    ("teach_direct", "teach", "does a direct hint teach more"),
    ("sdpo_wrong", "sdpo", "should a success not be shown to itself"),
];

/// Largest corrected p over seeds that settles a question.
const SETTLED: f64 = 0.05;

/// The difference of one question on one slice.
#[derive(Debug)]
struct Answer<'s> {
    question: &'static (&'static str, &'static str, &'static str),
    slice: &'s Slice,
    /// Sampled tokens at which the arms are compared; after the last step without.
    tokens: Option<u64>,
    paired: Paired,
    /// p over seeds, corrected for the questions of the same slice that are read in the same way.
    corrected: Option<f64>,
}

impl Answer<'_> {
    /// What the difference says by its corrected p over seeds.
    fn word(&self) -> &'static str {
        match self.corrected {
            Some(p) if p < SETTLED && self.paired.difference.mean > 0.0 => "yes",
            Some(p) if p < SETTLED => "the opposite",
            _ => "open",
        }
    }
}

impl Report<'_> {
    /// The answers on one slice, at equal steps or at equal tokens.
    fn answers<'s>(&self, slice: &'s Slice, by_tokens: bool) -> Result<Vec<Answer<'s>>> {
        let mut answers = Vec::new();
        for question in QUESTIONS {
            let (Some(one), Some(other)) = (self.arm(question.0), self.arm(question.1)) else {
                continue;
            };
            let Some((at, tokens)) = self.place(one, other, by_tokens) else { continue };
            if let Some(paired) = self.against(one, other, slice, at)? {
                answers.push(Answer { question, slice, tokens, paired, corrected: None });
            }
        }
        let p = answers.iter().filter_map(|answer| answer.paired.p_seeds).collect::<Vec<_>>();
        let tested = answers.iter_mut().filter(|answer| answer.paired.p_seeds.is_some());
        for (answer, corrected) in tested.zip(holm(&p)) {
            answer.corrected = Some(corrected);
        }
        Ok(answers)
    }

    fn place(
        &self,
        one: &[RunResult],
        other: &[RunResult],
        by_tokens: bool,
    ) -> Option<(At, Option<u64>)> {
        if !by_tokens {
            return Some((At::End, None));
        }
        self.equal_tokens(one, other).map(|tokens| (At::Tokens(tokens), Some(tokens)))
    }

    /// Q1: every question in and out of distribution, at equal steps and at equal tokens. Q2: the same by level, at
    /// equal steps.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn questions(&self) -> Result<Vec<Table>> {
        Ok(vec![self.overall()?, self.by_level("in")?, self.by_level("out")?])
    }

    fn overall(&self) -> Result<Table> {
        let mut rows = Vec::new();
        for distribution in ["in", "out"] {
            let Some(all) = self.slices.of_distribution(distribution).next() else { continue };
            for by_tokens in [false, true] {
                for answer in self.answers(all, by_tokens)? {
                    let (one, other, ask) = answer.question;
                    let [shown, p_problems, p_seeds] = difference(Some(answer.paired));
                    rows.push(vec![
                        format!("{ask}?"),
                        format!("{one} − {other}"),
                        distribution.to_owned(),
                        answer.tokens.map_or_else(
                            || "equal steps".to_owned(),
                            |tokens| format!("{tokens} tokens"),
                        ),
                        shown,
                        p_problems,
                        p_seeds,
                        p_value(answer.corrected),
                        answer.word().to_owned(),
                        answer.paired.difference.seeds.to_string(),
                    ]);
                }
            }
        }
        let header = [
            "question",
            "difference of",
            "distribution",
            "at",
            "accuracy",
            "p problems",
            "p seeds",
            "corrected",
            "answer",
            "seeds",
        ];
        let about = format!(
            "{METHOD} Corrected is p seeds after Holm's procedure over the questions of one distribution that are read in \
             the same way. An answer is open unless that is below {SETTLED}. (ours)"
        );
        let header = header.map(str::to_owned).to_vec();
        Ok(Table { id: "Q1", title: "questions".to_owned(), about, header, rows })
    }

    fn by_level(&self, distribution: &str) -> Result<Table> {
        let (id, title) = match distribution {
            "in" => ("Q2", "questions by level, in distribution"),
            _ => ("Q2b", "questions by level, out of distribution"),
        };
        let levels = self.slices.of_distribution(distribution).skip(1).collect::<Vec<_>>();
        let mut header = vec!["difference of".to_owned()];
        let mut rows = Vec::<Vec<String>>::new();
        for (at, slice) in levels.iter().enumerate() {
            header.push(part_name(slice));
            for (row, answer) in self.answers(slice, false)?.iter().enumerate() {
                let [shown, _, p_seeds] = difference(Some(answer.paired));
                let (one, other, _) = answer.question;
                if at == 0 {
                    rows.push(vec![format!("{one} − {other}")]);
                }
                if let Some(cells) = rows.get_mut(row) {
                    cells.push(format!("{shown}, p {p_seeds}"));
                }
            }
        }
        let about = format!("{METHOD} After the last step; p is over seeds, uncorrected. (ours)");
        Ok(Table { id, title: title.to_owned(), about, header, rows })
    }

    /// The answers on every slice, as JSON.
    ///
    /// # Errors
    ///
    /// As [`Report::tables`].
    pub(super) fn answers_json(&self) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for slice in ["in", "out"].into_iter().flat_map(|name| self.slices.of_distribution(name)) {
            for by_tokens in [false, true] {
                for answer in self.answers(slice, by_tokens)? {
                    let (one, other, ask) = answer.question;
                    found.push(json!({
                        "question": ask, "arm": one, "against": other, "distribution": answer.slice.0,
                        "part": part_name(answer.slice), "tokens": answer.tokens, "paired": answer.paired,
                        "p_corrected": answer.corrected, "answer": answer.word(),
                    }));
                }
            }
        }
        Ok(found)
    }
}
