//! Safetensors files that are written and read in pieces, so that no tensor need be in memory as a whole.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::PolicyError;
use crate::tensor::{len, size};

/// The largest header that is read, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// Name, kind and size of a tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorHeader {
    /// Its name, which no other tensor of the file has.
    pub name: String,
    /// The kind of its elements.
    #[serde(with = "kind_by_name")]
    pub kind: Kind,
    /// Its size.
    pub size: Vec<i64>,
}

impl TensorHeader {
    /// The number of elements.
    pub fn elements(&self) -> i64 {
        self.size.iter().product()
    }

    /// The order of the tensors in a file: wide elements first, then by name.
    pub fn order(&self, other: &Self) -> Ordering {
        let by_kind = dtype(other.kind).cmp(&dtype(self.kind));
        by_kind.then_with(|| self.name.cmp(&other.name))
    }
}

/// Writes a safetensors file piece by piece: first the header, then the elements of each tensor.
///
/// ```
/// use hint_policy::io::{TensorFile, TensorFileWriter, TensorHeader};
/// use tch::{Kind, Tensor};
///
/// let path = std::env::temp_dir().join("hint-policy-pieces.safetensors");
/// let header = TensorHeader { name: "moments".to_owned(), kind: Kind::Float, size: vec![2, 2] };
/// let mut writer = TensorFileWriter::create(&path, vec![header])?;
/// writer.append(&Tensor::from_slice(&[1.0f32, 2.0, 3.0]))?;
/// writer.append(&Tensor::from_slice(&[4.0f32]))?;
/// writer.finish()?;
///
/// let mut file = TensorFile::open(&path)?;
/// assert_eq!(file.headers()[0].size, [2, 2]);
/// let last = file.read(0, 2..4)?;
/// assert_eq!(Vec::<f32>::try_from(last).unwrap(), [3.0, 4.0]);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug)]
pub struct TensorFileWriter {
    path: PathBuf,
    file: BufWriter<File>,
    headers: Vec<TensorHeader>,
    /// The tensor that is next, by its index.
    tensor: usize,
    /// Elements of it that are written.
    written: i64,
}

impl TensorFileWriter {
    /// Creates the file of tensors with these headers. They are written in [their order](TensorHeader::order).
    ///
    /// # Errors
    ///
    /// [`PolicyError::TensorType`] for a kind that the format lacks. [`PolicyError::Write`], also for two tensors of one name.
    pub fn create(path: &Path, mut headers: Vec<TensorHeader>) -> Result<Self, PolicyError> {
        headers.sort_by(TensorHeader::order);
        let head = head(path, &headers)?;
        let start = || {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(&head)?;
            Ok(file)
        };
        let file = start().map_err(|source| write_error(path, source))?;
        let mut writer = Self { path: path.to_owned(), file, headers, tensor: 0, written: 0 };
        writer.skip_finished();
        Ok(writer)
    }

    /// Appends elements of the present tensor, in any shape. After its last element, the next tensor follows.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`], also for values of another kind and for more than the tensor has.
    pub fn append(&mut self, values: &Tensor) -> Result<(), PolicyError> {
        let count = size(values.numel());
        if count == 0 {
            return Ok(());
        }
        let Some(header) = self.headers.get(self.tensor) else {
            return Err(self.refuse("all tensors are written".to_owned()));
        };
        let missing = header.elements() - self.written;
        if values.kind() != header.kind || count > missing {
            let (name, kind, found) = (&header.name, header.kind, values.kind());
            let problem =
                format!("`{name}` lacks {missing} {kind:?}, and {count} {found:?} were given");
            return Err(self.refuse(problem));
        }
        let values = values.detach().to_device(Device::Cpu).contiguous();
        let mut bytes = vec![0; values.numel() * values.kind().elt_size_in_bytes()];
        values.copy_data_u8(&mut bytes, values.numel());
        self.file.write_all(&bytes).map_err(|source| write_error(&self.path, source))?;
        self.written += count;
        self.skip_finished();
        Ok(())
    }

    /// Ends the file. It is not flushed to disk.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`], also if elements are missing.
    pub fn finish(mut self) -> Result<(), PolicyError> {
        if let Some(header) = self.headers.get(self.tensor) {
            let problem =
                format!("`{}` lacks {} elements", header.name, header.elements() - self.written);
            return Err(self.refuse(problem));
        }
        self.file.flush().map_err(|source| write_error(&self.path, source))
    }

    /// Goes to the first tensor that lacks elements.
    fn skip_finished(&mut self) {
        while self.headers.get(self.tensor).is_some_and(|one| one.elements() == self.written) {
            self.tensor += 1;
            self.written = 0;
        }
    }

    fn refuse(&self, problem: String) -> PolicyError {
        write_error(&self.path, io::Error::other(problem))
    }
}

/// The first bytes of a file of tensors: the length of the header, and the header.
fn head(path: &Path, headers: &[TensorHeader]) -> Result<Vec<u8>, PolicyError> {
    let mut names = BTreeSet::new();
    if let Some(twice) = headers.iter().find(|header| !names.insert(&header.name)) {
        let problem = io::Error::other(format!("two tensors are named `{}`", twice.name));
        return Err(write_error(path, problem));
    }
    let mut end = 0;
    let info = |header: &TensorHeader| {
        let dtype = dtype(header.kind).ok_or_else(|| PolicyError::TensorType {
            path: path.to_owned(),
            tensor: header.name.clone(),
            found: format!("{:?}", header.kind),
            supported: SUPPORTED,
        })?;
        let start = end;
        end += len(header.elements()) * header.kind.elt_size_in_bytes();
        let shape = header.size.iter().copied().map(len).collect();
        Ok((header.name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) }))
    };
    let infos = headers.iter().map(info).collect::<Result<Vec<_>, PolicyError>>()?;
    let metadata = Metadata::new(None, infos);
    let metadata = metadata.map_err(|error| write_error(path, io::Error::other(error)))?;
    let mut json = serde_json::to_vec(&metadata)
        .map_err(|source| PolicyError::Json { path: path.to_owned(), source })?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut head = (json.len() as u64).to_le_bytes().to_vec();
    head.append(&mut json);
    Ok(head)
}

/// A safetensors file that is read piece by piece.
///
/// ```
/// use hint_policy::io::TensorFile;
/// use tch::Tensor;
///
/// let path = std::env::temp_dir().join("hint-policy-read-in-pieces.safetensors");
/// Tensor::write_safetensors(&[("moments", Tensor::from_slice(&[1.0f32, 2.0, 3.0]))], &path)?;
/// let mut file = TensorFile::open(&path)?;
/// let index = file.headers().iter().position(|header| header.name == "moments");
/// let middle = file.read(index.expect("the tensor is there"), 1..2)?;
/// assert_eq!(middle, Tensor::from_slice(&[2.0f32]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    headers: Vec<TensorHeader>,
    /// Where the elements of each tensor begin, in bytes from the start of the file.
    starts: Vec<u64>,
}

impl TensorFile {
    /// Reads the header of the file.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Read`], [`PolicyError::Corrupt`], and [`PolicyError::TensorType`] for elements that libtorch lacks.
    pub fn open(path: &Path) -> Result<Self, PolicyError> {
        let read = |source| PolicyError::Read { path: path.to_owned(), source };
        let corrupt = |reason: String| PolicyError::Corrupt { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(read)?;
        let all = file.metadata().map_err(read)?.len();
        let mut first = [0; 8];
        if all < 8 {
            return Err(corrupt(format!("it has {all} bytes, and no header")));
        }
        file.read_exact(&mut first).map_err(read)?;
        let length = u64::from_le_bytes(first);
        if length > MAX_HEADER.min(all - 8) {
            return Err(corrupt(format!("its header has {length} bytes, and the file {all}")));
        }
        let mut json = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact(&mut json).map_err(read)?;
        let metadata: Metadata =
            serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        let begin = 8 + length;
        let expected = begin.saturating_add(metadata.data_len() as u64);
        if expected != all {
            let reason = format!("it has {all} bytes, and its header describes {expected}");
            return Err(corrupt(reason));
        }
        let (mut headers, mut starts) = (Vec::new(), Vec::new());
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let kind = kind(info.dtype).ok_or_else(|| PolicyError::TensorType {
                path: path.to_owned(),
                tensor: name.clone(),
                found: format!("{:?}", info.dtype),
                supported: SUPPORTED,
            })?;
            starts.push(begin + info.data_offsets.0 as u64);
            let size = info.shape.iter().map(|&side| size(side)).collect();
            headers.push(TensorHeader { name, kind, size });
        }
        Ok(Self { path: path.to_owned(), file, headers, starts })
    }

    /// The tensors, in the order of the file.
    pub fn headers(&self) -> &[TensorHeader] {
        &self.headers
    }

    /// Elements of a tensor, by its index in the file, on the CPU: `[elements]`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Read`], [`PolicyError::OutOfMemory`], and [`PolicyError::NoSuchIndex`] beyond the end.
    pub fn read(&mut self, tensor: usize, range: Range<i64>) -> Result<Tensor, PolicyError> {
        let missing = |name, index, len| PolicyError::NoSuchIndex { name, index, len };
        let none = || missing("tensor", tensor, self.headers.len());
        let header = self.headers.get(tensor).ok_or_else(none)?;
        let elements = header.elements();
        if !(0 <= range.start && range.start <= range.end && range.end <= elements) {
            let end = usize::try_from(range.end).unwrap_or_default();
            return Err(missing("element", end, len(elements)));
        }
        let width = header.kind.elt_size_in_bytes();
        let mut bytes = vec![0; len(range.end - range.start) * width];
        let start = self.starts[tensor] + (len(range.start) * width) as u64;
        let read = |source| PolicyError::Read { path: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(start)).map_err(read)?;
        self.file.read_exact(&mut bytes).map_err(read)?;
        Tensor::f_from_data_size(&bytes, &[range.end - range.start], header.kind)
            .map_err(|source| PolicyError::torch("copy a tensor", source))
    }
}

fn write_error(path: &Path, source: io::Error) -> PolicyError {
    PolicyError::Write { path: path.to_owned(), source }
}

/// Kinds of elements that files may have, by their names in files.
const KINDS: [(Kind, Dtype); 10] = [
    (Kind::Bool, Dtype::BOOL),
    (Kind::Uint8, Dtype::U8),
    (Kind::Int8, Dtype::I8),
    (Kind::Int16, Dtype::I16),
    (Kind::Int, Dtype::I32),
    (Kind::Int64, Dtype::I64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
];

const SUPPORTED: &str = "BOOL, U8, I8, I16, I32, I64, F16, BF16, F32, F64";

fn dtype(kind: Kind) -> Option<Dtype> {
    KINDS.into_iter().find(|(one, _)| *one == kind).map(|(_, dtype)| dtype)
}

fn kind(dtype: Dtype) -> Option<Kind> {
    KINDS.into_iter().find(|(_, one)| *one == dtype).map(|(kind, _)| kind)
}

/// A kind under its name in files.
mod kind_by_name {
    #![expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]

    use serde::de::Error as _;
    use serde::ser::Error as _;

    use super::{Deserialize, Dtype, Kind, SUPPORTED, Serialize, dtype, kind};

    pub(super) fn serialize<S: serde::Serializer>(
        value: &Kind,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let problem = || S::Error::custom(format!("{value:?} is none of {SUPPORTED}"));
        dtype(*value).ok_or_else(problem)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Kind, D::Error> {
        let found = Dtype::deserialize(deserializer)?;
        kind(found).ok_or_else(|| D::Error::custom(format!("{found:?} is none of {SUPPORTED}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, Tensor)> {
        let numbers = Tensor::arange(12, (Kind::Float, Device::Cpu)).sin();
        vec![
            ("second.b".to_owned(), numbers.view([3, 4])),
            ("steps".to_owned(), Tensor::from_slice(&[7_i64])),
            ("first.b".to_owned(), numbers.cos().view([4, 3])),
            ("teacher/a\"".to_owned(), numbers.to_kind(Kind::BFloat16)),
            ("nothing".to_owned(), numbers.narrow(0, 0, 0)),
            ("wide".to_owned(), numbers.to_kind(Kind::Double).view([2, 3, 2])),
            ("mask".to_owned(), numbers.gt(0.0)),
            ("scalar".to_owned(), Tensor::from(0.5_f32)),
        ]
    }

    fn headers(tensors: &[(String, Tensor)]) -> Vec<TensorHeader> {
        let header = |(name, tensor): &(String, Tensor)| TensorHeader {
            name: name.clone(),
            kind: tensor.kind(),
            size: tensor.size(),
        };
        tensors.iter().map(header).collect()
    }

    /// The elements of the tensor with a header.
    fn flat(tensors: &[(String, Tensor)], header: &TensorHeader) -> Tensor {
        let (_, tensor) = tensors.iter().find(|(name, _)| *name == header.name).unwrap();
        tensor.contiguous().view([-1])
    }

    #[test]
    fn a_file_in_pieces_has_the_bytes_of_one_that_is_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, pieces) = (dir.path().join("whole"), dir.path().join("pieces"));
        for tensors in [tensors(), tensors().split_off(6), Vec::new()] {
            Tensor::write_safetensors(&tensors, &whole).unwrap();
            for step in [1_usize, 5, 100] {
                let mut headers = headers(&tensors);
                let mut writer = TensorFileWriter::create(&pieces, headers.clone()).unwrap();
                headers.sort_by(TensorHeader::order);
                for header in &headers {
                    for piece in flat(&tensors, header).split(size(step), 0) {
                        writer.append(&piece).unwrap();
                    }
                }
                writer.finish().unwrap();
                assert_eq!(std::fs::read(&pieces).unwrap(), std::fs::read(&whole).unwrap());
            }
        }
    }

    #[test]
    fn pieces_are_read_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tensors");
        let tensors = tensors();
        Tensor::write_safetensors(&tensors, &path).unwrap();
        let mut file = TensorFile::open(&path).unwrap();
        let mut expected = headers(&tensors);
        expected.sort_by(TensorHeader::order);
        assert_eq!(file.headers(), expected);
        for (index, header) in expected.iter().enumerate() {
            let flat = flat(&tensors, header);
            for range in [0..header.elements(), header.elements() / 2..header.elements()] {
                let found = file.read(index, range.clone()).unwrap();
                let wanted = flat.narrow(0, range.start, range.end - range.start);
                assert!(found.kind() == header.kind && found.equal(&wanted), "{header:?}");
            }
            assert!(file.read(index, 0..header.elements() + 1).is_err());
        }
        assert!(file.read(expected.len(), 0..0).is_err());
        let text = serde_json::to_string(&expected).unwrap();
        assert!(text.contains("BF16"), "{text}");
        assert_eq!(serde_json::from_str::<Vec<TensorHeader>>(&text).unwrap(), expected);
    }

    #[test]
    fn a_cut_or_changed_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tensors");
        Tensor::write_safetensors(&tensors(), &path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = TensorFile::open(&path).expect_err("it is cut");
            assert!(matches!(error, PolicyError::Corrupt { .. }), "{length}: {error}");
        }
        for (place, byte) in [(0, 255), (7, 255), (8, b'x'), (9, 0)] {
            let mut damaged = whole.clone();
            damaged[place] = byte;
            std::fs::write(&path, damaged).unwrap();
            assert!(TensorFile::open(&path).is_err(), "{place}");
        }
    }

    #[test]
    fn a_writer_refuses_what_does_not_fit_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tensors");
        let header = |name: &str, kind| TensorHeader { name: name.to_owned(), kind, size: vec![2] };
        let create = |headers| TensorFileWriter::create(&path, headers);
        let text = |error: PolicyError| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        };
        let twice = create(vec![header("a", Kind::Float), header("a", Kind::Float)]);
        assert!(text(twice.unwrap_err()).ends_with("two tensors are named `a`"));
        assert!(create(vec![header("a", Kind::ComplexFloat)]).is_err());
        let mut writer = create(vec![header("a", Kind::Float)]).unwrap();
        let error = writer.append(&Tensor::from_slice(&[1.0_f64])).unwrap_err();
        assert!(text(error).ends_with("`a` lacks 2 Float, and 1 Double were given"));
        assert!(writer.append(&Tensor::from_slice(&[1.0_f32; 3])).is_err());
        writer.append(&Tensor::from_slice(&[1.0_f32])).unwrap();
        assert!(text(writer.finish().unwrap_err()).ends_with("`a` lacks 1 elements"));
    }
}
