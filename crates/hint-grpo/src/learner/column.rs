//! Numbers of response tokens: on the host in one buffer, and as tensors of a micro-batch.

use std::ops::Range;

use hint_policy::TokenBatch;
use serde::{Deserialize, Serialize, Serializer};
use tch::Tensor;

use super::sample::Sample;
use crate::tensor::{read_together, upload, upload_like};

/// One number per response token, for some rows: one buffer, viewed by row. Written, it is a list of rows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Vec<Option<Vec<f64>>>")]
pub(crate) struct TokenColumn {
    values: Vec<f64>,
    rows: Vec<Option<Range<usize>>>,
}

impl TokenColumn {
    /// A column of `rows` rows that have no values yet.
    pub(crate) fn new(rows: usize) -> Self {
        Self { values: Vec::new(), rows: vec![None; rows] }
    }

    /// Gives a row its values.
    pub(crate) fn set(&mut self, row: usize, values: impl IntoIterator<Item = f64>) {
        let start = self.values.len();
        self.values.extend(values);
        self.rows[row] = Some(start..self.values.len());
    }

    /// The values of a row, if it has any.
    pub(crate) fn get(&self, row: usize) -> Option<&[f64]> {
        let range = self.rows.get(row)?.clone()?;
        Some(&self.values[range])
    }

    /// The values of every row; none for one that has none.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        (0..self.rows.len()).map(|row| self.get(row).unwrap_or_default())
    }

    /// The values of a row, to change them.
    pub(crate) fn get_mut(&mut self, row: usize) -> Option<&mut [f64]> {
        let range = self.rows.get(row)?.clone()?;
        Some(&mut self.values[range])
    }

    /// Multiplies the values of a row, or gives the row its first ones.
    pub(crate) fn scale(&mut self, row: usize, factors: &[f64]) {
        match self.get_mut(row) {
            None => self.set(row, factors.iter().copied()),
            Some(values) => {
                values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
            }
        }
    }
}

impl Serialize for TokenColumn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..self.rows.len()).map(|row| self.get(row)))
    }
}

impl From<Vec<Option<Vec<f64>>>> for TokenColumn {
    fn from(rows: Vec<Option<Vec<f64>>>) -> Self {
        let mut column = Self::new(rows.len());
        for (row, values) in rows.into_iter().enumerate() {
            if let Some(values) = values {
                column.set(row, values);
            }
        }
        column
    }
}

/// Place of each row's response in the flattened `[batch * seq]` order.
pub(super) fn responses(batch: &TokenBatch) -> impl Iterator<Item = Range<usize>> + '_ {
    let lens = batch.prompt_lens().iter().zip(batch.completion_lens());
    lens.enumerate().map(|(row, (prompt, response))| {
        let start = row * batch.seq() + prompt;
        start..start + response
    })
}

/// Reads `values` `[batch, seq]` back to the host: its responses, one after the other.
pub(crate) fn read_responses(values: &Tensor, batch: &TokenBatch) -> TokenColumn {
    let [values] = read_together([values]);
    responses_of(values, batch)
}

/// The responses in a tensor that was read from `[batch, seq]`.
pub(crate) fn responses_of(values: Vec<f64>, batch: &TokenBatch) -> TokenColumn {
    TokenColumn { values, rows: responses(batch).map(Some).collect() }
}

/// Spreads host values to `[batch, seq]` at the responses, 0 elsewhere and where a row has none.
pub(crate) fn spread<'v>(
    rows: impl Iterator<Item = Option<&'v [f64]>>,
    batch: &TokenBatch,
    like: &Tensor,
) -> Tensor {
    let mut flat = vec![0.0_f64; batch.batch() * batch.seq()];
    for (range, values) in responses(batch).zip(rows) {
        if let Some(values) = values {
            flat[range].copy_from_slice(values);
        }
    }
    let shape = [dim(batch.batch()), dim(batch.seq())];
    upload_like(&flat, like).view(shape)
}

/// One number for each row, on the device of `like` and in its kind.
pub(crate) fn per_row(values: &[f64], like: &Tensor) -> Tensor {
    upload_like(values, like)
}

/// True on the tokens that train. `[batch, seq]`, `Bool`.
pub(crate) fn loss_mask(samples: &[&Sample], batch: &TokenBatch) -> Tensor {
    let mut flat = vec![false; batch.batch() * batch.seq()];
    for (range, sample) in responses(batch).zip(samples) {
        flat[range].copy_from_slice(&sample.loss_mask);
    }
    let shape = [dim(batch.batch()), dim(batch.seq())];
    upload(&flat, batch.tokens().device()).view(shape)
}

/// A length as a tensor dimension.
pub(crate) fn dim(len: usize) -> i64 {
    i64::try_from(len).expect("no tensor has 2^63 elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_views_of_one_buffer() {
        let mut column = TokenColumn::new(3);
        column.set(2, [1.0, 2.0]);
        column.set(0, [3.0]);
        assert_eq!(column.get(0), Some(&[3.0][..]));
        assert_eq!(column.get(1), None);
        assert_eq!(column.get(2), Some(&[1.0, 2.0][..]));
        assert_eq!(column.values, [1.0, 2.0, 3.0]);
    }
}
