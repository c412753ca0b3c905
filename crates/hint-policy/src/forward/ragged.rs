//! The tokens of a batch without its padding.

use std::cell::OnceCell;
use std::ops::Range;

use tch::{Device, Tensor};

use crate::policy::batch::TokenBatch;
use crate::tensor::{size, upload};

/// Rows whose lengths differ by less than a quarter attend together, padded to the longest of them.
const SPREAD: usize = 4;

/// Places of the real tokens of a batch, ordered by the length of their rows.
///
/// Everything but attention works on `[tokens, ..]` in this order: there is no padding.
#[derive(Debug)]
pub(crate) struct RaggedLayout {
    /// Positions of the tokens in the flattened batch. `[tokens]`, `Int64`.
    pub(crate) order: Tensor,
    /// Position of each token in its row. `[tokens]`, `Int64`.
    pub(crate) positions: Tensor,
    /// Groups of tokens that attend together; every token is in one group.
    pub(crate) groups: Vec<Group>,
    /// Indices among the tokens of the predecessors of completion tokens, in the order of
    /// [`TokenBatch::completion_positions`]. `[completion tokens]`, `Int64`.
    pub(crate) predicting: Tensor,
    /// Indices among the tokens of the first one of each row of the batch.
    pub(crate) starts: Vec<usize>,
    pub(crate) longest: usize,
    /// Lengths of the rows in the order of the tokens, and, once a GPU needs them, their ends.
    lens: Vec<usize>,
    ends: OnceCell<Tensor>,
}

/// Rows of similar length, next to each other.
#[derive(Debug)]
pub(crate) struct Group {
    /// Their tokens.
    pub(crate) tokens: Range<usize>,
    pub(crate) rows: usize,
    /// Length of the longest row.
    pub(crate) seq: usize,
    lens: Vec<usize>,
    /// Made when it is needed.
    padding: OnceCell<Option<Padding>>,
}

/// Places of rows that do not have one length, `Int64`.
#[derive(Debug)]
struct Padding {
    /// For each place of `[rows, seq]`, a token of the group, or the row's last one if the place is padding.
    token_of: Tensor,
    /// For each token, its place.
    place_of: Tensor,
}

impl RaggedLayout {
    pub(crate) fn new(batch: &TokenBatch, device: Device) -> Self {
        let lens: Vec<usize> =
            batch.prompt_lens().iter().zip(batch.completion_lens()).map(|(p, c)| p + c).collect();
        let mut by_len: Vec<usize> = (0..lens.len()).collect();
        by_len.sort_by_key(|&row| lens[row]);
        let mut starts = vec![0; lens.len()];
        let (mut order, mut positions, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = by_len.as_slice();
        while let Some(&first) = rest.first() {
            let limit = lens[first] + lens[first].div_ceil(SPREAD) - 1;
            let (members, others) = rest.split_at(rest.partition_point(|&row| lens[row] <= limit));
            let start = order.len();
            for &row in members {
                starts[row] = order.len();
                order.extend((0..lens[row]).map(|position| size(row * batch.seq() + position)));
                positions.extend((0..lens[row]).map(size));
            }
            let members: Vec<usize> = members.iter().map(|&row| lens[row]).collect();
            groups.push(Group::new(start..order.len(), members));
            rest = others;
        }
        let predicting: Vec<i64> = starts
            .iter()
            .zip(batch.prompt_lens().iter().zip(batch.completion_lens()))
            .flat_map(|(start, (prompt, completion))| {
                let first = start + prompt - 1;
                (first..first + completion).map(size)
            })
            .collect();
        let place = |values: &[i64]| upload(values, device);
        Self {
            order: place(&order),
            positions: place(&positions),
            groups,
            predicting: place(&predicting),
            starts,
            longest: lens.iter().copied().max().unwrap_or(0),
            lens: by_len.iter().map(|&row| lens[row]).collect(),
            ends: OnceCell::new(),
        }
    }

    /// Where rows begin among the tokens, and the last one ends. `[rows + 1]`, `Int`.
    pub(crate) fn ends(&self) -> &Tensor {
        self.ends.get_or_init(|| {
            let mut end = 0;
            let ends = self.lens.iter().map(|len| {
                end += len;
                i32::try_from(end).expect("a batch has fewer tokens")
            });
            let ends: Vec<i32> = std::iter::once(0).chain(ends).collect();
            upload(&ends, self.order.device())
        })
    }
}

impl Group {
    /// `lens` are the lengths of its rows, in their order.
    fn new(tokens: Range<usize>, lens: Vec<usize>) -> Self {
        let seq = lens.iter().copied().max().unwrap_or(0);
        Self { tokens, rows: lens.len(), seq, lens, padding: OnceCell::new() }
    }

    /// On the device of the tokens; `None` if all rows have one length.
    fn padding(&self, device: Device) -> Option<&Padding> {
        let (lens, seq) = (&self.lens, self.seq);
        let make = || {
            let (mut token_of, mut place_of) = (Vec::new(), Vec::new());
            let mut start = 0;
            for (row, &len) in lens.iter().enumerate() {
                token_of.extend((0..seq).map(|position| size(start + position.min(len - 1))));
                place_of.extend((0..len).map(|position| size(row * seq + position)));
                start += len;
            }
            Padding { token_of: upload(&token_of, device), place_of: upload(&place_of, device) }
        };
        self.padding.get_or_init(|| lens.iter().any(|&len| len != seq).then(make)).as_ref()
    }

    /// The group's part of `values` `[tokens, width]`, as `[rows, seq, width]`.
    pub(crate) fn pad(&self, values: &Tensor) -> Tensor {
        let own = values.narrow(0, size(self.tokens.start), size(self.tokens.len()));
        let places = match self.padding(values.device()) {
            Some(Padding { token_of, .. }) => own.index_select(0, token_of),
            None => own,
        };
        places.reshape([size(self.rows), size(self.seq), -1])
    }

    /// As [`Self::pad`], with zeros where there is no token.
    pub(crate) fn pad_zero(&self, values: &Tensor) -> Tensor {
        let Some(Padding { place_of, .. }) = self.padding(values.device()) else {
            return self.pad(values);
        };
        let own = values.narrow(0, size(self.tokens.start), size(self.tokens.len()));
        let (width, options) = (values.size()[1], (values.kind(), values.device()));
        let places = Tensor::zeros([size(self.rows * self.seq), width], options);
        places.index_copy(0, place_of, &own).view([size(self.rows), size(self.seq), width])
    }

    /// The values `[rows, seq, width]` of the group's tokens, `[group's tokens, width]`.
    pub(crate) fn unpad(&self, values: &Tensor) -> Tensor {
        let flat = values.reshape([size(self.rows * self.seq), -1]);
        match self.padding(values.device()) {
            Some(Padding { place_of, .. }) => flat.index_select(0, place_of),
            None => flat,
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::policy::batch::TokenRow;

    #[test]
    fn every_token_is_in_one_group_and_comes_back_from_its_padding() {
        let tokens: Vec<u32> = (0..100).collect();
        let lens = [(3, 4), (1, 0), (40, 30), (2, 6), (5, 2), (30, 42)];
        let rows = lens.map(|(prompt, completion)| TokenRow {
            prompt: &tokens[..prompt],
            completion: &tokens[prompt..prompt + completion],
        });
        let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
        let layout = RaggedLayout::new(&batch, Device::Cpu);
        let count: usize = lens.iter().map(|(p, c)| p + c).sum();
        assert_eq!(layout.order.size(), [size(count)]);
        let ids = batch.tokens().reshape([-1]).index_select(0, &layout.order);
        // In these rows every id is its position.
        assert_eq!(ids, layout.positions);
        let shapes: Vec<_> = layout.groups.iter().map(|group| (group.rows, group.seq)).collect();
        assert_eq!(shapes, [(1, 1), (3, 8), (2, 72)]);
        let column = layout.positions.unsqueeze(-1).to_kind(Kind::Double);
        let back: Vec<_> =
            layout.groups.iter().map(|group| group.unpad(&group.pad(&column))).collect();
        assert_eq!(Tensor::cat(&back, 0), column);
        let sums = layout.groups.iter().map(|group| group.pad_zero(&column).sum(Kind::Double));
        assert_eq!(sums.sum::<Tensor>(), column.sum(Kind::Double));
        let predicted: Vec<i64> =
            lens.iter().flat_map(|(p, c)| (*p..p + c).map(|position| size(position) - 1)).collect();
        let predicting = layout.positions.index_select(0, &layout.predicting);
        assert_eq!(predicting, Tensor::from_slice(&predicted));
    }
}
