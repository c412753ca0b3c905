//! A file of tensors that the first process reads for all, in slices.

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hint_policy::io::{TensorFile, TensorHeader};
use tch::{Device, Tensor};

use crate::data_parallel::DataParallel;
use crate::error::GrpoError;

/// Elements that are in the memory of the host at a time.
pub(crate) const SLICE: i64 = 1 << 24;

/// A file of tensors. The first process has it, and every process gets the elements that it wants.
///
/// All processes ask for the same tensors in the same order.
#[derive(Debug)]
pub(crate) struct SharedFile {
    /// That of the first process.
    file: Option<Mutex<TensorFile>>,
    headers: Vec<TensorHeader>,
    processes: DataParallel,
    slice: i64,
}

impl SharedFile {
    /// Opens the file at `path` on the first process. Every process learns what is in it.
    pub(crate) fn open(path: &Path, processes: &DataParallel) -> Result<Self, GrpoError> {
        Self::in_slices(path, processes, SLICE)
    }

    fn in_slices(path: &Path, processes: &DataParallel, slice: i64) -> Result<Self, GrpoError> {
        let mut file = None;
        let headers = processes.broadcast_value(|| {
            let opened = TensorFile::open(path)?;
            let headers = opened.headers().to_vec();
            file = Some(Mutex::new(opened));
            Ok(headers)
        })?;
        Ok(Self { file, headers, processes: processes.clone(), slice })
    }

    /// The tensors of the file.
    pub(crate) fn headers(&self) -> &[TensorHeader] {
        &self.headers
    }

    /// The index of the tensor called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.headers.iter().position(|header| header.name == name)
    }

    /// Gives `target` the elements of a tensor from `start` on, as many as it has. Every process calls it for the same
    /// tensor, also with a `target` that has none.
    pub(crate) fn copy_to(
        &self,
        tensor: usize,
        target: &Tensor,
        start: i64,
    ) -> Result<(), GrpoError> {
        let header = &self.headers[tensor];
        let target = target.detach();
        let flat = target.contiguous().view([-1]);
        let wanted = start..start + flat.size()[0];
        for slice in slices(&(0..header.elements()), self.slice) {
            let values = self.read(tensor, &slice)?;
            let range = wanted.start.max(slice.start)..wanted.end.min(slice.end);
            if range.start < range.end {
                let count = range.end - range.start;
                let values = values.narrow(0, range.start - slice.start, count);
                flat.narrow(0, range.start - start, count).copy_(&values);
            }
        }
        if !target.is_contiguous() {
            target.shallow_clone().copy_(&flat.view_as(&target));
        }
        Ok(())
    }

    /// Elements of a tensor, on the host of every process.
    fn read(&self, tensor: usize, range: &Range<i64>) -> Result<Tensor, GrpoError> {
        let options = (self.headers[tensor].kind, Device::Cpu);
        let mut values = match &self.file {
            Some(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.read(tensor, range.clone())?
            }
            None => Tensor::zeros([range.end - range.start], options),
        };
        if !self.processes.is_alone() {
            self.processes.collective().broadcast(&mut values, 0)?;
        }
        Ok(values)
    }
}

/// Cuts a range into slices of at most `length`.
pub(crate) fn slices(range: &Range<i64>, length: i64) -> impl Iterator<Item = Range<i64>> + use<> {
    let end = range.end;
    let step = usize::try_from(length).unwrap_or(usize::MAX).max(1);
    range.clone().step_by(step).map(move |start| start..start.saturating_add(length).min(end))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hint_dist::{Collective, Threads};
    use tch::Kind;

    use super::*;

    #[test]
    fn every_process_gets_the_elements_that_it_wants() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tensors");
        // Every thread makes its own.
        let tensors = || {
            let numbers = Tensor::arange(12, (Kind::Float, Device::Cpu)).sin();
            [("a", numbers.view([3, 4])), ("b", numbers.narrow(0, 0, 0)), ("c", numbers.cos())]
        };
        Tensor::write_safetensors(&tensors(), &path).unwrap();
        let read = |processes: &DataParallel, slice: i64| {
            let tensors = tensors();
            let file = SharedFile::in_slices(&path, processes, slice).unwrap();
            let rank = i64::try_from(processes.collective().rank()).unwrap();
            let found = ["a", "b", "c"].map(|name| {
                let tensor = file.find(name).unwrap();
                let all = file.headers()[tensor].elements();
                // Ranges of all lengths, and one that is empty.
                let start = (rank * 5).min(all);
                let target = Tensor::zeros([(all - start).min(7)], (Kind::Float, Device::Cpu));
                file.copy_to(tensor, &target, start).unwrap();
                let (_, whole) = tensors.iter().find(|(other, _)| *other == name).unwrap();
                let expected = whole.contiguous().view([-1]).narrow(0, start, target.size()[0]);
                target.equal(&expected)
            });
            // A target whose elements do not follow each other.
            let turned = Tensor::zeros([4, 3], (Kind::Double, Device::Cpu)).tr();
            file.copy_to(file.find("a").unwrap(), &turned, 0).unwrap();
            let is_turned = turned.equal(&tensors[0].1.to_kind(Kind::Double));
            assert!(file.find("d").is_none());
            found == [true; 3] && is_turned
        };
        for slice in [1, 5, 100] {
            assert!(read(&DataParallel::default(), slice));
            std::thread::scope(|scope| {
                let start = |member: Threads| {
                    let read = &read;
                    scope.spawn(move || {
                        let member = Arc::new(member);
                        let collective = Arc::clone(&member) as Arc<dyn Collective>;
                        let is_right = read(&DataParallel::new(collective, 3), slice);
                        member.shutdown().expect("all leave");
                        is_right
                    })
                };
                let members = Threads::group(3, Duration::from_secs(20)).into_iter();
                for thread in members.map(start).collect::<Vec<_>>() {
                    assert!(thread.join().expect("no panic"), "{slice}");
                }
            });
        }
    }

    #[test]
    fn slices_cover_a_range() {
        let all = |range: Range<i64>, length| slices(&range, length).collect::<Vec<_>>();
        assert_eq!(all(3..10, 3), [3..6, 6..9, 9..10]);
        assert_eq!(all(0..8, 4), [0..4, 4..8]);
        assert!(all(4..4, 2).is_empty());
    }
}
