//! The divergences of TRL's experimental `sdpo` and `sdft` trainers, through the learner.

use std::path::Path;
use std::sync::{Arc, Mutex};

use hint_grpo::learner::{Contexts, Learner, LearnerParts, Sample, SampleBatch, SftLoss};
use hint_grpo::objective::{
    CreditForm, CreditTeacher, DivergenceKind, ObjectiveConfig, Support, Tail,
};
use hint_grpo::{GrpoConfig, GrpoError, Optimizer, metrics};
use hint_policy::{Parameter, Policy, PolicyError, SharedPolicy, TokenBatch};
use hint_rollout::run::RunProgress;
use serde_json::Value;
use tch::{Kind, Tensor};

use super::{assert_all_close, assert_close, cases, matrix, number, row};

const VOCABULARY: i64 = 6;

/// Logits by the first token of a row and the place after it: a table of `[rows, places · vocabulary]`.
struct Given(Tensor);

impl Policy for Given {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        let rows = self.0.index_select(0, &tokens.tokens().select(1, 0));
        let places = rows.view([tokens.tokens().size()[0], -1, VOCABULARY]);
        // The last token of the longest row predicts nothing.
        let padded = places.constant_pad_nd([0, 0, 0, 1]);
        Ok(padded.narrow(1, 0, tokens.tokens().size()[1]))
    }
    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter { name: "table".into(), tensor: self.0.shallow_clone() }]
    }
    fn vocab_size(&self) -> usize {
        6
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn save(&self, _dir: &Path) -> Result<(), PolicyError> {
        Ok(())
    }
}

/// Keeps the gradient instead of following it.
struct Keep(Vec<Parameter>, Arc<Mutex<Tensor>>);

impl Optimizer for Keep {
    fn step(&mut self, _learning_rate: f64) -> Result<(), GrpoError> {
        *self.1.lock().expect("no test panics here") = self.0[0].tensor.grad().copy();
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.0
    }
}

/// The form that TRL's settings name.
fn form(settings: &Value) -> CreditForm {
    let weight = number(&settings["weight"]);
    match settings["mode"].as_str().expect("a mode") {
        "sampled_token" => CreditForm::Advantage { mix: 1.0 - weight, max: None },
        "topk_logits" => {
            let alpha = number(&settings["alpha"]);
            let kind = if alpha == 0.0 {
                DivergenceKind::ForwardKl
            } else if alpha == 1.0 {
                DivergenceKind::ReverseKl
            } else {
                DivergenceKind::Jsd { teacher_share: alpha }
            };
            let has_tail = settings["add_tail"].as_bool().expect("a flag");
            CreditForm::Divergence {
                mix: 1.0 - weight,
                coef: weight,
                kind,
                top_k: usize::try_from(settings["topk"].as_u64().expect("a number"))
                    .expect("small"),
                support: Support::Student,
                tail: if has_tail { Tail::Bucket } else { Tail::Drop },
            }
        }
        other => panic!("the mode `{other}` is newer than this test"),
    }
}

#[test]
fn golden_divergences_agree_with_trl() {
    for case in cases("distillation") {
        let name = case["name"].as_str().expect("a name");
        let input = &case["input"];
        let mut config = GrpoConfig::default();
        config.optimizer.max_grad_norm = 1e9;
        config.rollout.sampling.temperature = 1.0;
        config.loss.hinted_weight.clear();
        config.loss.credit.form = form(&input["config"]);
        config.loss.credit.teacher = CreditTeacher::Reference;
        if input["config"]["mode"] == "sampled_token" {
            // TRL's value is that of its gradient, without a ratio.
            config.loss.objective = ObjectiveConfig::Reinforce;
        }
        let completions = input["completions"].as_array().expect("rows");
        let samples = completions.iter().zip(row(&input["advantages"])).zip(0_u32..).map(
            |((completion, advantage), index)| {
                let id = |value: f64| format!("{value}").parse::<u32>().expect("an id");
                let response = row(completion).into_iter().map(id).collect::<Vec<_>>();
                let prompt = Arc::<[u32]>::from([index]);
                let contexts = Contexts::plain([index]).with_teacher(prompt, None);
                let logprobs = vec![-1.0; response.len()];
                Sample::new(0, [index], response, logprobs)
                    .with_advantage(advantage)
                    .with_contexts(contexts)
            },
        );
        let student = Given(matrix(&input["student"]).set_requires_grad(true));
        let gradient = Arc::new(Mutex::new(Tensor::new()));
        let optimizer = Keep(student.parameters(), Arc::clone(&gradient));
        let parts = LearnerParts {
            reference: Some(SharedPolicy::new(Given(matrix(&input["teacher"])))),
            optimizer: Some(Box::new(optimizer)),
            ..LearnerParts::default()
        };
        let student = SharedPolicy::new(student);
        let mut learner =
            Learner::new(student, &config, SftLoss::default(), parts).expect("the parts fit");
        let batch = SampleBatch::new(1, samples.collect());
        let report = learner.update(&batch, RunProgress::new(0, 1)).expect("the samples fit");
        let loss = report.metrics.get(metrics::LOSS).expect("one optimizer step");
        let expected = &case["expected"];
        assert_close(name, "loss", loss, number(&expected["loss"]), 1e-9, 1e-12);
        let found = gradient.lock().expect("no test panics here").to_kind(Kind::Double);
        assert_all_close(name, "gradient", &found, &matrix(&expected["gradient"]), 1e-9, 1e-12);
    }
}

/// Follows the weights of a golden file, whatever the gradient.
struct Prescribed(Vec<Parameter>, Vec<Tensor>);

impl Optimizer for Prescribed {
    fn step(&mut self, _learning_rate: f64) -> Result<(), GrpoError> {
        let next = self.1.remove(0);
        tch::no_grad(|| self.0[0].tensor.copy_(&next));
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.0
    }
}

#[test]
fn golden_average_of_weights_agrees_with_trl() {
    for case in cases("teacher_average") {
        let name = case["name"].as_str().expect("a name");
        let steps = case["expected"].as_array().expect("steps");
        let weights = steps.iter().map(|step| matrix(&step["model"])).collect::<Vec<_>>();
        let mut config = GrpoConfig::default();
        let decay = 1.0 - number(&case["input"]["update_rate"]);
        config.loss.credit.teacher = CreditTeacher::Average { decay };
        let policy = Given(matrix(&case["input"]["start"]).set_requires_grad(true));
        let optimizer = Prescribed(policy.parameters(), weights);
        // It starts with the weights of the policy, not with its own.
        let teacher = SharedPolicy::new(Given(matrix(&case["input"]["start"]) * 0.0));
        let parts = LearnerParts {
            teacher: Some(teacher.clone()),
            optimizer: Some(Box::new(optimizer)),
            ..LearnerParts::default()
        };
        let policy = SharedPolicy::new(policy);
        let mut learner =
            Learner::new(policy, &config, SftLoss::default(), parts).expect("the parts fit");
        for step in steps {
            let batch = SampleBatch::new(1, Vec::new());
            learner.update(&batch, RunProgress::new(0, 1)).expect("nothing to train on");
            let found = teacher.lock().parameters().remove(0).tensor;
            assert_all_close(name, "teacher", &found, &matrix(&step["teacher"]), 1e-12, 1e-14);
        }
    }
}
