//! The state of an optimizer in a file, slice by slice: the counterpart of [`SavedState`](super::SavedState).

use std::ops::Range;
use std::path::Path;

use hint_policy::io::{TensorFileWriter, TensorHeader};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::data_parallel::DataParallel;
use crate::error::GrpoError;
use crate::optim::{StatePart, len, part};
use crate::shared_file::{SLICE, slices};

/// A part of a tensor that a process holds, without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    header: TensorHeader,
    range: Range<i64>,
}

impl Held {
    fn of(part: &StatePart) -> Self {
        let (name, size) = (part.name.clone(), part.size.clone());
        let header = TensorHeader { name, kind: part.values.kind(), size };
        Self { header, range: part.start..part.start + part.values.size()[0] }
    }
}

/// Writes the tensors of which the processes hold these parts to `path`. Every process calls it at the same time, and the
/// first one alone has a path.
pub(crate) fn write_state(
    parts: Vec<StatePart>,
    processes: &DataParallel,
    path: Option<&Path>,
) -> Result<(), GrpoError> {
    tch::no_grad(|| write_parts(parts, processes, path, SLICE))
}

/// Writes the tensors of which the processes hold these parts. The first process has the path, and `slice` elements at a
/// time. The others help it.
pub(crate) fn write_parts(
    mut parts: Vec<StatePart>,
    processes: &DataParallel,
    path: Option<&Path>,
    slice: i64,
) -> Result<(), GrpoError> {
    parts.sort_by(|one, other| Held::of(one).header.order(&Held::of(other).header));
    let own = parts.iter().map(Held::of).collect::<Vec<_>>();
    let headers = own.iter().map(|held| held.header.clone()).collect();
    let held = processes.all_gather_values(own)?;
    check_parts(&held).map_err(|error| GrpoError::other("optimizer", error))?;
    let mut file = path.map(|path| TensorFileWriter::create(path, headers)).transpose()?;
    for (index, own) in parts.iter().enumerate() {
        let mut end = 0;
        for rank in in_order(&held, index) {
            let range = &held[rank][index].range;
            // Every process holds some tensors whole, such as the number of steps.
            if range.is_empty() || range.start != end {
                continue;
            }
            end = range.end;
            for slice in slices(range, slice) {
                let values = values_of(rank, own, &slice, processes)?;
                if let Some(file) = &mut file {
                    file.append(&values)?;
                }
            }
        }
    }
    Ok(file.map_or(Ok(()), TensorFileWriter::finish)?)
}

/// The processes in the order of their parts of a tensor.
fn in_order(held: &[Vec<Held>], index: usize) -> Vec<usize> {
    let mut ranks = (0..held.len()).collect::<Vec<_>>();
    ranks.sort_by_key(|&rank| held[rank][index].range.start);
    ranks
}

/// Elements of a tensor that the process `rank` holds, on the host.
fn values_of(
    rank: usize,
    own: &StatePart,
    slice: &Range<i64>,
    processes: &DataParallel,
) -> Result<Tensor, GrpoError> {
    let collective = processes.collective();
    let mut values = if rank == collective.rank() {
        let place = slice.start - own.start..slice.end - own.start;
        part(&own.values, &place).detach().to_device(Device::Cpu).contiguous()
    } else {
        Tensor::zeros([len(slice)], (own.values.kind(), Device::Cpu))
    };
    // What the first process holds itself need not travel.
    if rank != 0 {
        collective.broadcast(&mut values, rank)?;
    }
    Ok(values)
}

/// Checks that the processes hold parts of the same tensors, and together all of each.
fn check_parts(held: &[Vec<Held>]) -> Result<(), String> {
    const FIX: &str = "an optimizer with a `shard` of its own needs its `state_parts`";
    let headers = |rank: usize| held[rank].iter().map(|held| &held.header);
    if let Some(rank) = (1..held.len()).find(|rank| !headers(*rank).eq(headers(0))) {
        return Err(format!("rank {rank} keeps the state of other tensors than rank 0; {FIX}"));
    }
    for (index, header) in headers(0).enumerate() {
        let ranges = in_order(held, index).into_iter().map(|rank| &held[rank][index].range);
        let end =
            ranges.fold(0, |end, range| if range.start == end { range.end.max(end) } else { end });
        if end != header.elements() {
            return Err(format!("no rank keeps element {end} of `{}`; {FIX}", header.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hint_dist::{Collective, Threads};
    use tch::Kind;

    use super::*;

    /// The part of a process, which is empty from the end of the tensor on.
    fn cut(name: &str, tensor: &Tensor, range: Range<i64>) -> StatePart {
        let flat = tensor.contiguous().view([-1]);
        let end = i64::try_from(flat.numel()).unwrap();
        let range = range.start.min(end)..range.end.min(end);
        let values = part(&flat, &range);
        StatePart { name: name.to_owned(), size: tensor.size(), start: range.start, values }
    }

    #[test]
    fn the_bytes_are_those_of_a_file_that_is_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        // Every thread makes its own.
        let tensors = || {
            let numbers = Tensor::arange(20, (Kind::Float, Device::Cpu)).sin();
            [
                ("second.a", numbers.view([4, 5])),
                ("steps", Tensor::from_slice(&[3_i64])),
                ("first.a", numbers.cos().view([5, 4])),
                ("master.b", numbers.to_kind(Kind::BFloat16)),
                ("nothing", numbers.narrow(0, 0, 0)),
            ]
        };
        let whole = dir.path().join("whole");
        Tensor::write_safetensors(&tensors(), &whole).unwrap();
        let expected = std::fs::read(&whole).unwrap();
        let path = dir.path().join("parts");
        let write = |processes: &DataParallel, slice: i64| {
            let rank = i64::try_from(processes.collective().rank()).unwrap();
            let of = |(name, tensor): &(&str, Tensor)| match *name {
                "steps" => StatePart::whole((*name).to_owned(), tensor),
                // The second of three processes holds none.
                _ => cut(name, tensor, [0..7, 7..7, 7..20][usize::try_from(rank).unwrap()].clone()),
            };
            let parts = tensors().iter().map(of).collect();
            let path = processes.is_first().then_some(path.as_path());
            write_parts(parts, processes, path, slice).unwrap();
        };
        for slice in [1, 4, 100] {
            let whole =
                |(name, tensor): &(&str, Tensor)| StatePart::whole((*name).to_owned(), tensor);
            let parts = tensors().iter().map(whole).collect();
            write_parts(parts, &DataParallel::default(), Some(&path), slice).unwrap();
            assert!(std::fs::read(&path).unwrap() == expected, "one process, {slice}");
            std::fs::remove_file(&path).unwrap();
            std::thread::scope(|scope| {
                for member in Threads::group(3, Duration::from_secs(20)) {
                    let write = &write;
                    scope.spawn(move || {
                        let member = Arc::new(member);
                        let collective = Arc::clone(&member) as Arc<dyn Collective>;
                        write(&DataParallel::new(collective, 3), slice);
                        member.shutdown().expect("all leave");
                    });
                }
            });
            assert!(std::fs::read(&path).unwrap() == expected, "three processes, {slice}");
        }
    }

    #[test]
    fn a_state_that_nobody_holds_whole_is_refused() {
        let held = |parts: &[(&str, Range<i64>)]| {
            let held = |(name, range): &(&str, Range<i64>)| {
                let (name, kind, size) = ((*name).to_owned(), Kind::Float, vec![2, 2]);
                Held { header: TensorHeader { name, kind, size }, range: range.clone() }
            };
            parts.iter().map(held).collect::<Vec<_>>()
        };
        let first = held(&[("momentum.a", 0..3), ("momentum.b", 0..4)]);
        let second = held(&[("momentum.a", 3..4), ("momentum.b", 0..4)]);
        assert_eq!(check_parts(&[first.clone(), second.clone()]), Ok(()));
        let gap = held(&[("momentum.a", 4..4), ("momentum.b", 0..4)]);
        let gap = check_parts(&[first.clone(), gap]).unwrap_err();
        assert!(gap.starts_with("no rank keeps element 3 of `momentum.a`"), "{gap}");
        let others = check_parts(&[first, second[1..].to_vec()]).unwrap_err();
        assert!(others.starts_with("rank 1 keeps the state of other tensors"), "{others}");
    }
}
