//! Divergences from a teacher: gradients against central differences, and what they must not depend on.

use std::sync::{Arc, Mutex};

use hint_grpo::learner::{Contexts, Learner, LearnerParts, Sample, SampleBatch, SftLoss};
use hint_grpo::objective::{
    CreditForm, CreditTeacher, DivergenceKind, ObjectiveConfig, OldLogprobs, Support, Tail,
};
use hint_grpo::{GrpoConfig, metrics};
use hint_policy::{Policy, SharedPolicy};
use hint_rollout::run::RunProgress;
use tch::Tensor;

use crate::bigram::{Bigram, Keep};
use crate::{device, upload};

const VOCAB: usize = 6;
const CELLS: usize = VOCAB * VOCAB;

/// Logits that are all different, other ones for each seed.
fn table(seed: f64) -> [f64; CELLS] {
    std::array::from_fn(|cell| 1.5 * ((cell as f64 + 1.0) * (2.3 + seed)).sin())
}

fn policy(table: &[f64; CELLS]) -> SharedPolicy {
    let side = i64::try_from(VOCAB).expect("small");
    SharedPolicy::new(Bigram::new(upload(table).view([side, side]).set_requires_grad(true)))
}

const fn form(kind: DivergenceKind, support: Support, tail: Tail) -> CreditForm {
    CreditForm::Divergence { mix: 0.5, coef: 0.7, kind, top_k: 3, support, tail }
}

/// Forms of every kind, support and tail.
fn forms() -> impl Iterator<Item = CreditForm> {
    let jsd = DivergenceKind::Jsd { teacher_share: 0.3 };
    [DivergenceKind::ForwardKl, DivergenceKind::ReverseKl, jsd].into_iter().flat_map(|kind| {
        [Support::Student, Support::Teacher].into_iter().flat_map(move |support| {
            [Tail::Bucket, Tail::Drop].map(|tail| form(kind, support, tail))
        })
    })
}

fn config(form: CreditForm) -> GrpoConfig {
    let mut config = GrpoConfig::default();
    config.optimizer.max_grad_norm = 1e9;
    config.rollout.sampling.temperature = 0.8;
    config.loss.hinted_weight.clear();
    // Its value is that of its gradient: no ratio hides a change of the table.
    config.loss.objective = ObjectiveConfig::Reinforce;
    config.loss.credit.form = form;
    config.loss.credit.teacher = CreditTeacher::Reference;
    config
}

/// A response to the prompt `[0]`, taught by the prompt `[0, hint]` if there is a hint.
fn sample(response: &[u32], advantage: f64, hint: Option<u32>) -> Sample {
    let sample = Sample::new(0, [0], response.to_vec(), vec![-1.0; response.len()]);
    let sample = sample.with_advantage(advantage);
    match hint {
        Some(hint) => {
            sample.with_contexts(Contexts::plain([0]).with_teacher(Arc::from([0, hint]), None))
        }
        None => sample,
    }
}

/// Rows that are taught and not, of different lengths, one without an advantage and one with a token that does not train.
fn samples() -> Vec<Sample> {
    vec![
        sample(&[1, 2, 5], 1.0, None),
        sample(&[3, 1, 4, 2], 0.0, Some(4)),
        sample(&[], 2.0, Some(3)),
        sample(&[5], -1.0, Some(3)),
        sample(&[2, 0, 3], 2.0, Some(5)).with_loss_mask(vec![true, false, true]),
    ]
}

/// The loss and the gradient of one optimizer step of `student`, with `teacher` as the reference.
fn update(
    student: &[f64; CELLS],
    teacher: &[f64; CELLS],
    config: &GrpoConfig,
    samples: Vec<Sample>,
) -> (f64, Vec<f64>) {
    let student = policy(student);
    let gradient = Arc::new(Mutex::new(Vec::new()));
    let parameters = student.lock().parameters();
    let optimizer = Keep { parameters, gradient: Arc::clone(&gradient) };
    let reference = Some(policy(teacher));
    let parts =
        LearnerParts { optimizer: Some(Box::new(optimizer)), reference, ..LearnerParts::default() };
    let mut learner =
        Learner::new(student, config, SftLoss::default(), parts).expect("the parts fit");
    let report = learner.update(&SampleBatch::new(1, samples), RunProgress::new(0, 1));
    let loss = report.expect("the samples are valid").metrics.get(metrics::LOSS);
    let gradient = gradient.lock().expect("no test panics here").clone();
    (loss.expect("one optimizer step"), gradient)
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (cell, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < bound, "{what}, cell {cell}: {found} {expected}");
    }
}

#[test]
fn gradients_equal_central_differences() {
    const STEP: f64 = 1e-5;
    let (student, teacher) = (table(0.0), table(1.0));
    for form in forms() {
        let config = config(form);
        let (_, gradient) = update(&student, &teacher, &config, samples());
        let moved = |cell: usize, by: f64| {
            let mut student = student;
            student[cell] += by;
            update(&student, &teacher, &config, samples()).0
        };
        let expected = (0..CELLS)
            .map(|cell| (moved(cell, STEP) - moved(cell, -STEP)) / (2.0 * STEP))
            .collect::<Vec<_>>();
        assert!(expected.iter().any(|value| value.abs() > 1e-2), "{form:?} trains something");
        assert_close(&format!("{form:?}"), &gradient, &expected, 1e-9);
    }
}

#[test]
fn a_hole_in_a_taught_response_is_no_part_of_the_divergence() {
    // Row 2 predicts the hole, and nothing else.
    let hole = 2 * VOCAB..3 * VOCAB;
    let one = || vec![sample(&[2, 0, 3], 0.0, Some(5)).with_loss_mask(vec![true, false, true])];
    let (student, teacher) = (table(0.0), table(1.0));
    let mut other = teacher;
    for cell in hole.clone() {
        other[cell] += cell as f64;
    }
    for form in forms() {
        let config = config(form);
        let (loss, gradient) = update(&student, &teacher, &config, one());
        assert_close(&format!("{form:?}"), &gradient[hole.clone()], &[0.0; VOCAB], 1e-15);
        assert!(
            gradient[..VOCAB].iter().any(|value| value.abs() > 1e-4),
            "{form:?} trains the rest"
        );
        let (same, _) = update(&student, &other, &config, one());
        assert_close(&format!("{form:?}"), &[same], &[loss], 1e-15);
    }
}

#[test]
fn no_gradient_goes_through_a_teacher_that_is_the_policy_itself() {
    for form in forms() {
        let mut config = config(form);
        let by_reference = update(&table(0.0), &table(0.0), &config, samples());
        config.loss.credit.teacher = CreditTeacher::Live;
        let (loss, gradient) = update(&table(0.0), &table(1.0), &config, samples());
        assert_close(&format!("{form:?}"), &[loss], &[by_reference.0], 1e-15);
        assert_close(&format!("{form:?}"), &gradient, &by_reference.1, 1e-15);
    }
}

#[test]
fn rows_that_nothing_teaches_have_no_divergence() {
    for form in forms() {
        let untaught = || vec![sample(&[1, 2, 5], 0.0, None), sample(&[4, 3], 1.0, Some(2))];
        let config = config(form);
        let (_, together) = update(&table(0.0), &table(1.0), &config, untaught());
        let taught_alone = vec![untaught().remove(1)];
        let (_, alone) = update(&table(0.0), &table(1.0), &config, taught_alone);
        // The mean is over two sequences instead of one.
        let halved = alone.iter().map(|value| value / 2.0).collect::<Vec<_>>();
        assert_close(&format!("{form:?}"), &together, &halved, 1e-15);
    }
}

#[test]
fn what_the_engine_reports_changes_nothing() {
    let form = form(DivergenceKind::ForwardKl, Support::Student, Tail::Bucket);
    let mut config = config(form);
    let expected = update(&table(0.0), &table(1.0), &config, samples());
    let other = samples().into_iter().map(|mut sample| {
        sample.behavior_logprobs.fill(-7.0);
        sample
    });
    config.loss.old_logprobs = OldLogprobs::Engine;
    let found = update(&table(0.0), &table(1.0), &config, other.collect());
    assert_eq!(found, expected);
}

#[test]
fn a_support_of_the_whole_vocabulary_is_the_divergence_itself() {
    let (student, teacher) = (table(0.0), table(1.0));
    let whole = |kind, support| CreditForm::Divergence {
        mix: 0.0,
        coef: 1.0,
        kind,
        top_k: 100,
        support,
        tail: Tail::Drop,
    };
    let row = |table: &[f64; CELLS], token: usize| {
        let logits = table[VOCAB * token..VOCAB * (token + 1)].iter().map(|logit| logit / 0.8);
        let sum = logits.clone().map(f64::exp).sum::<f64>().ln();
        logits.map(|logit| logit - sum).collect::<Vec<_>>()
    };
    // The response `[2]`: the policy sees 0 last, and the teacher 4.
    let (p, q) = (row(&student, 0), row(&teacher, 4));
    let kl = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    for support in [Support::Student, Support::Teacher] {
        for (kind, expected) in
            [(DivergenceKind::ForwardKl, kl(&q, &p)), (DivergenceKind::ReverseKl, kl(&p, &q))]
        {
            let config = config(whole(kind, support));
            let (loss, _) = update(&student, &teacher, &config, vec![sample(&[2], 3.0, Some(4))]);
            assert_close(&format!("{kind:?}"), &[loss], &[expected], 1e-12);
        }
    }
}

#[test]
fn a_policy_that_cannot_teach_is_refused() {
    let refused = |teacher: CreditTeacher, further: Option<SharedPolicy>| {
        let mut config = config(forms().next().expect("some"));
        config.loss.credit.teacher = teacher;
        let parts = LearnerParts { teacher: further, ..LearnerParts::default() };
        let learner = Learner::new(policy(&table(0.0)), &config, SftLoss::default(), parts);
        let found = learner.and_then(|mut learner| {
            learner.update(&SampleBatch::new(1, samples()), RunProgress::new(0, 1))
        });
        found.expect_err("there is no such teacher").to_string()
    };
    let average = || CreditTeacher::Average { decay: 0.9 };
    let none = refused(average(), None);
    assert!(none.contains("loss.credit.teacher: needs a policy"), "{none}");
    let narrow = Bigram::new(Tensor::zeros([6, 5], (tch::Kind::Double, device())));
    let other = refused(average(), Some(SharedPolicy::new(narrow)));
    assert!(
        other.contains("an average needs a copy of the policy") && other.contains("`table`"),
        "{other}"
    );
}

#[test]
fn an_average_teaches_with_the_weights_before_the_step() {
    let form = form(DivergenceKind::ReverseKl, Support::Student, Tail::Bucket);
    let mut config = config(form);
    let expected = update(&table(0.0), &table(0.0), &config, samples());
    config.loss.credit.teacher = CreditTeacher::Average { decay: 0.5 };
    let student = policy(&table(0.0));
    let gradient = Arc::new(Mutex::new(Vec::new()));
    let parameters = student.lock().parameters();
    let optimizer = Keep { parameters, gradient: Arc::clone(&gradient) };
    let teacher = Some(policy(&table(3.0)));
    let parts =
        LearnerParts { optimizer: Some(Box::new(optimizer)), teacher, ..LearnerParts::default() };
    let mut learner =
        Learner::new(student, &config, SftLoss::default(), parts).expect("the parts fit");
    learner.update(&SampleBatch::new(1, samples()), RunProgress::new(0, 1)).expect("valid");
    assert_close("gradient", &gradient.lock().expect("no panic"), &expected.1, 1e-15);
}
