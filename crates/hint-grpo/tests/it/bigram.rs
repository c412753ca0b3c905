//! A policy of one table, and an optimizer that keeps its gradient.

use std::path::Path;
use std::sync::{Arc, Mutex};

use hint_grpo::{GrpoError, Optimizer};
use hint_policy::{Parameter, Policy, PolicyError, TokenBatch};
use tch::Tensor;

/// Predicts every token from the one before: row `i` of the table holds the logits after token `i`.
pub(crate) struct Bigram {
    table: Tensor,
    drops_inputs: bool,
    change: Box<dyn Fn(Tensor) -> Tensor + Send>,
}

impl Bigram {
    pub(crate) fn new(table: Tensor) -> Self {
        Self { table, drops_inputs: false, change: Box::new(|logits| logits) }
    }

    /// The same table, whose logits pass through `change`. The policy [drops inputs](Policy::drops_inputs), or does not, as
    /// far as the learner knows.
    pub(crate) fn with_change(
        self,
        drops_inputs: bool,
        change: impl Fn(Tensor) -> Tensor + Send + 'static,
    ) -> Self {
        Self { drops_inputs, change: Box::new(change), ..self }
    }
}

impl Policy for Bigram {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        Ok((self.change)(Tensor::embedding(&self.table, tokens.tokens(), -1, false, false)))
    }
    fn drops_inputs(&self) -> bool {
        self.drops_inputs
    }
    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter { name: "table".into(), tensor: self.table.shallow_clone() }]
    }
    fn vocab_size(&self) -> usize {
        usize::try_from(self.table.size()[0]).expect("a size")
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn save(&self, _dir: &Path) -> Result<(), PolicyError> {
        Ok(())
    }
}

/// Keeps the gradient instead of following it.
pub(crate) struct Keep {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) gradient: Arc<Mutex<Vec<f64>>>,
}

impl Optimizer for Keep {
    fn step(&mut self, _learning_rate: f64) -> Result<(), GrpoError> {
        let gradient = self.parameters[0].tensor.grad().contiguous().view([-1]);
        *self.gradient.lock().expect("no test panics here") = Vec::try_from(gradient).expect("f64");
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}
