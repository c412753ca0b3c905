//! The header of a GGUF file, read with a bounds check at every step.

use std::collections::BTreeMap;

use crate::gguf::dequantize::GgmlType;
use crate::gguf::{GgufValue, TensorEntry};

/// Metadata and tensor directory.
type Contents = (BTreeMap<String, GgufValue>, BTreeMap<String, TensorEntry>);

/// More dimensions than this do not occur.
const MAX_DIMENSIONS: u32 = 4;

/// A cursor over the bytes of a file. Errors name the mismatch.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Parses everything before the tensor data.
    pub(super) fn file(mut self) -> Result<Contents, String> {
        if self.take(4)? != b"GGUF" {
            return Err("it does not start with `GGUF`".into());
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("GGUF version {version} is not supported, expected 2 or 3"));
        }
        let tensors = self.u64()?;
        let entries = self.u64()?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let key = self.string()?;
            let kind = self.u32()?;
            let value = self.value(kind, true).map_err(|error| format!("key `{key}`: {error}"))?;
            metadata.insert(key, value);
        }
        let alignment = metadata.get("general.alignment").and_then(GgufValue::as_u64);
        let alignment = usize::try_from(alignment.unwrap_or(32)).unwrap_or(0);
        if !alignment.is_power_of_two() {
            return Err(format!("`general.alignment` is {alignment}, expected a power of 2"));
        }
        let mut directory = Vec::new();
        for _ in 0..tensors {
            let name = self.string()?;
            let (shape, kind, offset) =
                self.tensor().map_err(|error| format!("tensor `{name}`: {error}"))?;
            directory.push((name, shape, kind, offset));
        }
        let data = self.at.checked_next_multiple_of(alignment).ok_or("the header is too long")?;
        let mut placed = BTreeMap::new();
        for (name, shape, kind, offset) in directory {
            let (start, end) = self
                .range(data, &shape, kind, offset)
                .map_err(|error| format!("tensor `{name}`: {error}"))?;
            let duplicate =
                placed.insert(name.clone(), TensorEntry { shape, kind, start, end }).is_some();
            if duplicate {
                return Err(format!("tensor `{name}` occurs twice"));
            }
        }
        Ok((metadata, placed))
    }

    /// Shape (outermost first), type and offset of one tensor.
    fn tensor(&mut self) -> Result<(Vec<i64>, GgmlType, u64), String> {
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(format!("{dimensions} dimensions, expected at most {MAX_DIMENSIONS}"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64()?;
            shape.push(i64::try_from(size).map_err(|_| format!("dimension {size} is too large"))?);
        }
        // The file lists the innermost dimension first.
        shape.reverse();
        let kind = GgmlType::new(self.u32()?);
        Ok((shape, kind, self.u64()?))
    }

    /// Range of a tensor's data in the file.
    fn range(
        &self,
        data: usize,
        shape: &[i64],
        kind: GgmlType,
        offset: u64,
    ) -> Result<(usize, usize), String> {
        let elements = shape
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(usize::try_from(size).ok()?))
            .ok_or_else(|| format!("shape {shape:?} is too large"))?;
        // Types that are not implemented are refused when they are read, with their name.
        let Some((block, bytes)) = kind.block() else { return Ok((0, 0)) };
        let inner = shape.last().copied().unwrap_or(1);
        if usize::try_from(inner).is_ok_and(|inner| inner % block != 0) {
            return Err(format!("rows of {inner} are not whole blocks of {block}"));
        }
        let start = usize::try_from(offset).ok().and_then(|offset| data.checked_add(offset));
        let length = (elements / block).checked_mul(bytes);
        start
            .zip(length)
            .and_then(|(start, length)| Some((start, start.checked_add(length)?)))
            .filter(|(_, end)| *end <= self.bytes.len())
            .ok_or_else(|| {
                format!(
                    "its data (offset {offset}, {elements} elements) end behind the file of {} bytes",
                    self.bytes.len()
                )
            })
    }

    fn value(&mut self, kind: u32, arrays: bool) -> Result<GgufValue, String> {
        Ok(match kind {
            0 => GgufValue::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => GgufValue::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => GgufValue::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => GgufValue::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => GgufValue::Unsigned(u64::from(self.u32()?)),
            5 => GgufValue::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => GgufValue::Float(shortest(f32::from_le_bytes(self.array()?))),
            7 => GgufValue::Bool(self.array::<1>()?[0] != 0),
            8 => GgufValue::String(self.string()?),
            9 if arrays => {
                let kind = self.u32()?;
                let length = self.u64()?;
                // Every element takes a byte at least, so a longer array is a lie; reserving
                // memory for it would abort the process.
                if length > self.rest() as u64 {
                    return Err(format!("array of {length} elements in {} bytes", self.rest()));
                }
                let values: Result<_, String> =
                    (0..length).map(|_| self.value(kind, false)).collect();
                GgufValue::Array(values?)
            }
            9 => return Err("arrays of arrays are not supported".into()),
            10 => GgufValue::Unsigned(self.u64()?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.array()?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("value type {other} is unknown")),
        })
    }

    fn string(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        let length = usize::try_from(length).map_err(|_| format!("string of {length} bytes"))?;
        let at = self.at;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| format!("no UTF-8 text at byte {at}"))?;
        Ok(text.to_owned())
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("`take` returns as many bytes as asked for"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            format!("{length} bytes expected at byte {}, {} left", self.at, rest.len())
        })?;
        self.at += length;
        Ok(taken)
    }

    fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }
}

/// The decimal that `value` prints as.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
