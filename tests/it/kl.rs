//! The KL term to a reference policy.

use hint_grpo::{GrpoError, Trainer, metrics};
use hint_policy::SharedPolicy;
use hint_tests::{config, lenient_rubric, parts, problems, tiny_policy};

#[test]
fn a_reference_is_needed_exactly_when_the_coefficient_is_not_zero() {
    let mut config = config(1);
    config.loss.kl.coef = 0.1;
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    let error = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .build()
        .expect_err("no reference");
    assert!(matches!(&error, GrpoError::Config(_)));
    assert!(error.to_string().contains("loss.kl.coef"), "{error}");
}

#[test]
fn kl_to_an_equal_reference_is_zero_and_to_another_positive() {
    for (reference_seed, positive) in [(7, false), (8, true)] {
        let mut config = config(1);
        config.loss.kl.coef = 0.1;
        let policy = SharedPolicy::new(tiny_policy(7));
        let parts = parts(&policy, lenient_rubric(), true);
        let kl = std::sync::Arc::new(std::sync::Mutex::new(None));
        let seen = KlObserver(std::sync::Arc::clone(&kl));
        let mut trainer = Trainer::from_config(config, parts)
            .expect("the configuration is valid")
            .reference(SharedPolicy::new(tiny_policy(reference_seed)))
            .observer(seen)
            .build()
            .expect("the configuration is valid");
        trainer.run(&problems()).expect("the run works");
        let kl = kl.lock().expect("no test panics here").expect("kl is reported");
        assert!(if positive { kl > 1e-3 } else { kl.abs() < 1e-9 }, "{kl}");
    }
}

struct KlObserver(std::sync::Arc<std::sync::Mutex<Option<f64>>>);

impl hint_grpo::Observer for KlObserver {
    fn on_step(&mut self, report: &hint_grpo::StepReport) -> std::ops::ControlFlow<()> {
        *self.0.lock().expect("no test panics here") = report.metrics.get(metrics::KL);
        std::ops::ControlFlow::Continue(())
    }
}
