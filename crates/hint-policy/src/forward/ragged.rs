//! The tokens of a batch without its padding.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

use tch::{Device, Tensor};

use crate::policy::batch::TokenBatch;
use crate::tensor::{size, statistics_kind, upload};

/// Rows whose lengths differ by less than a quarter attend together, padded to the longest of them.
const SPREAD: usize = 4;

/// Places of the real tokens of a batch, ordered by the length of their rows.
///
/// Everything but attention works on `[tokens, ..]` in this order: there is no padding. Rows may share the tokens of
/// equal prompts, which have the same hidden states.
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
    /// Whether a row borrows the prompt of another.
    pub(crate) shares: bool,
    /// Lengths of the rows in the order of the tokens, and, once a GPU needs them, their ends.
    lens: Vec<usize>,
    ends: OnceCell<Tensor>,
}

/// Rows of similar length, next to each other.
#[derive(Debug)]
pub(crate) struct Group {
    /// Their tokens, without those that they borrow.
    pub(crate) tokens: Range<usize>,
    pub(crate) rows: usize,
    /// Length of the longest row.
    pub(crate) seq: usize,
    members: Vec<Member>,
    /// Made when it is needed.
    padding: OnceCell<Option<Padding>>,
}

/// A row of a group.
#[derive(Debug, Clone, Copy)]
struct Member {
    len: usize,
    /// Index of its first token, which may be another row's.
    start: usize,
    /// How many tokens another row, before it, has as well.
    borrowed: usize,
    /// Index of its first own token.
    own: usize,
}

impl Member {
    /// The index of the token at `position`, or of the last one.
    fn token(&self, position: usize) -> i64 {
        let position = position.min(self.len - 1);
        match position.checked_sub(self.borrowed) {
            Some(own) => size(self.own + own),
            None => size(self.start + position),
        }
    }
}

/// Places of rows that do not have one length or borrow tokens, `Int64`.
#[derive(Debug)]
struct Padding {
    /// For each place of `[rows, seq]`, a token, which is the row's last one if the place is padding.
    token_of: Tensor,
    /// For each own token, its place.
    place_of: Tensor,
}

impl RaggedLayout {
    /// Each row with all its tokens.
    pub(crate) fn new(batch: &TokenBatch, device: Device) -> Self {
        Self::arrange(batch, device, |row| row)
    }

    /// As [`Self::new`], with the tokens of equal prompts once.
    pub(crate) fn sharing(batch: &TokenBatch, device: Device) -> Self {
        Self::arrange(batch, device, |row| batch.shared_prompts()[row])
    }

    /// Rows with the same `prompt_of` share their prompts.
    fn arrange(batch: &TokenBatch, device: Device, prompt_of: impl Fn(usize) -> usize) -> Self {
        let prompts = batch.prompt_lens();
        let lens: Vec<usize> =
            prompts.iter().zip(batch.completion_lens()).map(|(p, c)| p + c).collect();
        let mut by_len: Vec<usize> = (0..lens.len()).collect();
        by_len.sort_by_key(|&row| lens[row]);
        // By row of the batch; that of a prompt is the place of its first token.
        let mut placed: Vec<Option<Member>> = vec![None; lens.len()];
        let mut stored: Vec<Option<usize>> = vec![None; lens.len()];
        let (mut order, mut positions, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = by_len.as_slice();
        while let Some(&first) = rest.first() {
            let limit = lens[first] + lens[first].div_ceil(SPREAD) - 1;
            let (rows, others) = rest.split_at(rest.partition_point(|&row| lens[row] <= limit));
            let first_token = order.len();
            let members = rows.iter().map(|&row| {
                let (own, len) = (order.len(), lens[row]);
                let prompt = &mut stored[prompt_of(row)];
                let borrowed = if prompt.is_some() { prompts[row] } else { 0 };
                let start = *prompt.get_or_insert(own);
                order.extend((borrowed..len).map(|position| size(row * batch.seq() + position)));
                positions.extend((borrowed..len).map(size));
                let member = Member { len, start, borrowed, own };
                placed[row] = Some(member);
                member
            });
            let members = members.collect();
            groups.push(Group::new(first_token..order.len(), members));
            rest = others;
        }
        let placed: Vec<Member> = placed.into_iter().flatten().collect();
        let predicting: Vec<i64> = placed
            .iter()
            .zip(prompts)
            .flat_map(|(row, &prompt)| (prompt..row.len).map(|position| row.token(position - 1)))
            .collect();
        let place = |values: &[i64]| upload(values, device);
        Self {
            order: place(&order),
            positions: place(&positions),
            groups,
            predicting: place(&predicting),
            starts: placed.iter().map(|row| row.start).collect(),
            longest: lens.iter().copied().max().unwrap_or(0),
            shares: placed.iter().any(|row| row.borrowed > 0),
            lens: by_len.iter().map(|&row| lens[row]).collect(),
            ends: OnceCell::new(),
        }
    }

    /// Adds to the gradients `own` of tokens `[tokens, width]` those of the rows that borrow them. `by_group` are the
    /// gradients of all places of each group, `[rows, seq, width]`.
    pub(crate) fn add_borrowed(&self, own: &mut Tensor, by_group: &[Tensor]) {
        let mut sums: BTreeMap<usize, Tensor> = BTreeMap::new();
        for (group, of_places) in self.groups.iter().zip(by_group) {
            for (row, member) in
                group.members.iter().enumerate().filter(|(_, row)| row.borrowed > 0)
            {
                let borrowed = of_places.get(size(row)).narrow(0, 0, size(member.borrowed));
                let sum = sums.entry(member.start).or_insert_with(|| {
                    let tokens = own.narrow(0, size(member.start), size(member.borrowed));
                    tokens.to_kind(statistics_kind(own.kind())).copy()
                });
                let _ = sum.g_add_(&borrowed);
            }
        }
        for (start, sum) in sums {
            own.narrow(0, size(start), sum.size()[0]).copy_(&sum);
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
    fn new(tokens: Range<usize>, members: Vec<Member>) -> Self {
        let seq = members.iter().map(|row| row.len).max().unwrap_or(0);
        Self { tokens, rows: members.len(), seq, members, padding: OnceCell::new() }
    }

    /// On the device of the tokens; `None` if all rows have one length and no row borrows.
    fn padding(&self, device: Device) -> Option<&Padding> {
        let (rows, seq) = (&self.members, self.seq);
        let make = || {
            let (mut token_of, mut place_of) = (Vec::new(), Vec::new());
            for (index, row) in rows.iter().enumerate() {
                token_of.extend((0..seq).map(|position| row.token(position)));
                place_of
                    .extend((row.borrowed..row.len).map(|position| size(index * seq + position)));
            }
            Padding { token_of: upload(&token_of, device), place_of: upload(&place_of, device) }
        };
        let is_padded = |row: &Member| row.len != seq || row.borrowed > 0;
        self.padding.get_or_init(|| rows.iter().any(is_padded).then(make)).as_ref()
    }

    /// The group's part of `values` `[tokens, width]`, as `[rows, seq, width]`.
    pub(crate) fn pad(&self, values: &Tensor) -> Tensor {
        let places = match self.padding(values.device()) {
            Some(Padding { token_of, .. }) => values.index_select(0, token_of),
            None => values.narrow(0, size(self.tokens.start), size(self.tokens.len())),
        };
        places.reshape([size(self.rows), size(self.seq), -1])
    }

    /// As [`Self::pad`], with zeros where there is no token, and where it is borrowed.
    pub(crate) fn pad_zero(&self, values: &Tensor) -> Tensor {
        let Some(Padding { place_of, .. }) = self.padding(values.device()) else {
            return self.pad(values);
        };
        let own = values.narrow(0, size(self.tokens.start), size(self.tokens.len()));
        let (width, options) = (values.size()[1], (values.kind(), values.device()));
        let places = Tensor::zeros([size(self.rows * self.seq), width], options);
        places.index_copy(0, place_of, &own).view([size(self.rows), size(self.seq), width])
    }

    /// The values `[rows, seq, width]` of the group's own tokens, `[group's tokens, width]`.
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

    #[test]
    fn equal_prompts_are_there_once() {
        let tokens: Vec<u32> = (0..200).collect();
        let other: Vec<u32> = (0..79).chain([199]).collect();
        let row = |prompt, completion| TokenRow { prompt, completion };
        let completion = |count: usize| &tokens[80..80 + count];
        let prompt = &tokens[..80];
        // Also a prompt with another last token, one that starts another, and a short one.
        let rows = [
            row(prompt, completion(30)),
            row(prompt, completion(0)),
            row(&other, completion(30)),
            row(prompt, completion(1)),
            row(&tokens[..70], &tokens[70..110]),
            row(prompt, completion(30)),
            row(prompt, completion(90)),
            row(&tokens[..3], completion(4)),
            row(&tokens[..3], completion(4)),
        ];
        let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
        let (plain, layout) =
            (RaggedLayout::new(&batch, Device::Cpu), RaggedLayout::sharing(&batch, Device::Cpu));
        assert!(!plain.shares && layout.shares);
        let count: usize = rows.iter().map(|row| row.prompt.len() + row.completion.len()).sum();
        assert_eq!(plain.order.size(), [size(count)]);
        assert_eq!(layout.order.size(), [size(count - 4 * 80)]);
        // Rows attend as they do without sharing.
        let ids = batch.tokens().reshape([-1]).unsqueeze(-1).to_kind(Kind::Double);
        let of = |layout: &RaggedLayout| ids.index_select(0, &layout.order);
        let (shared, whole) = (of(&layout), of(&plain));
        for (group, expected) in layout.groups.iter().zip(&plain.groups) {
            assert_eq!(group.pad(&shared), expected.pad(&whole));
            let own = shared.narrow(0, size(group.tokens.start), size(group.tokens.len()));
            assert_eq!(group.unpad(&group.pad(&shared)), own);
            assert_eq!(group.unpad(&group.pad_zero(&shared)), own);
        }
        let predicting = |layout: &RaggedLayout| of(layout).index_select(0, &layout.predicting);
        assert_eq!(predicting(&layout), predicting(&plain));
        // The gradient of a token is that of all its places.
        let by_group: Vec<Tensor> =
            plain.groups.iter().map(|group| group.pad_zero(&whole)).collect();
        let own = layout.groups.iter().zip(&by_group).map(|(group, of)| group.unpad(of));
        let mut sums = Tensor::cat(&own.collect::<Vec<_>>(), 0);
        layout.add_borrowed(&mut sums, &by_group);
        assert_eq!(sums.sum(Kind::Double), whole.sum(Kind::Double));
        let start = size(layout.starts[0]);
        assert_eq!(sums.narrow(0, start, 80), shared.narrow(0, start, 80) * 5.0);
    }
}
