//! Element types of GGUF tensors, and their values as `f32`.

use std::fmt;

use half::{bf16, f16};

/// Types [`dequantize`] implements.
pub(super) const SUPPORTED: &str = "F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1";

/// Elements of one block of the quantized types below.
const BLOCK: usize = 32;

/// Element type of a tensor, by its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GgmlType(u32);

impl GgmlType {
    const F32: Self = Self(0);
    const F16: Self = Self(1);
    const Q4_0: Self = Self(2);
    const Q4_1: Self = Self(3);
    const Q8_0: Self = Self(8);
    const F64: Self = Self(28);
    const BF16: Self = Self(30);

    pub(super) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Elements and bytes of one block, `None` for a type that is not implemented.
    pub(super) const fn block(self) -> Option<(usize, usize)> {
        match self {
            Self::F32 => Some((1, 4)),
            Self::F16 | Self::BF16 => Some((1, 2)),
            Self::F64 => Some((1, 8)),
            Self::Q4_0 => Some((BLOCK, 2 + BLOCK / 2)),
            Self::Q4_1 => Some((BLOCK, 4 + BLOCK / 2)),
            Self::Q8_0 => Some((BLOCK, 2 + BLOCK)),
            _ => None,
        }
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 31] = [
            "F32", "F16", "Q4_0", "Q4_1", "Q4_2", "Q4_3", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K",
            "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
            "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M",
            "BF16",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "number {}", self.0),
        }
    }
}

/// Values of whole blocks, or `None` if the type is not implemented.
pub(super) fn dequantize(kind: GgmlType, data: &[u8]) -> Option<Vec<f32>> {
    let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    let (elements, bytes) = kind.block()?;
    let mut values = Vec::with_capacity(data.len() / bytes * elements);
    for block in data.chunks_exact(bytes) {
        match kind {
            GgmlType::F32 => {
                values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]));
            }
            GgmlType::F16 => values.push(half(block)),
            GgmlType::BF16 => values.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            #[expect(clippy::cast_possible_truncation, reason = "weights are `f32` here")]
            GgmlType::F64 => {
                let bytes = block.try_into().expect("blocks of F64 have 8 bytes");
                values.push(f64::from_le_bytes(bytes) as f32);
            }
            GgmlType::Q8_0 => {
                let scale = half(block);
                values.extend(block[2..].iter().map(|&q| f32::from(q.cast_signed()) * scale));
            }
            GgmlType::Q4_0 => {
                let scale = half(block);
                nibbles(&block[2..], &mut values, |q| (q - 8.0) * scale);
            }
            GgmlType::Q4_1 => {
                let (scale, offset) = (half(block), half(&block[2..]));
                nibbles(&block[4..], &mut values, |q| q * scale + offset);
            }
            _ => return None,
        }
    }
    Some(values)
}

/// Low halves of all bytes, then high halves.
fn nibbles(bytes: &[u8], values: &mut Vec<f32>, value: impl Fn(f32) -> f32) {
    values.extend(bytes.iter().map(|byte| value(f32::from(byte & 15))));
    values.extend(bytes.iter().map(|byte| value(f32::from(byte >> 4))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: GgmlType, data: &[u8], expected: &[f32]) {
        let values = dequantize(kind, data).unwrap();
        assert_eq!(&values[..expected.len()], expected);
    }

    #[test]
    fn plain_types_convert() {
        check(GgmlType::F32, &1.5_f32.to_le_bytes(), &[1.5]);
        check(GgmlType::F64, &1.5_f64.to_le_bytes(), &[1.5]);
        check(GgmlType::F16, &f16::from_f32(-2.5).to_le_bytes(), &[-2.5]);
        check(GgmlType::BF16, &bf16::from_f32(-2.5).to_le_bytes(), &[-2.5]);
    }

    #[test]
    fn blocks_are_scaled_and_shifted() {
        let half = |value| f16::from_f32(value).to_le_bytes();
        // Bytes 0x1F: low half 15, high half 1.
        let q4_0 = [half(0.5).as_slice(), &[0x1F; 16]].concat();
        check(GgmlType::Q4_0, &q4_0, &[[3.5; 16], [-3.5; 16]].concat());
        let q4_1 = [half(0.5).as_slice(), &half(-1.0), &[0x1F; 16]].concat();
        check(GgmlType::Q4_1, &q4_1, &[[6.5; 16], [-0.5; 16]].concat());
        let q8_0 = [half(0.5).as_slice(), &[0xFE; 32]].concat();
        check(GgmlType::Q8_0, &q8_0, &[-1.0; 32]);
    }

    #[test]
    fn unknown_types_have_a_name() {
        assert_eq!(GgmlType::new(12).to_string(), "Q4_K");
        assert_eq!(GgmlType::new(99).to_string(), "number 99");
        assert_eq!(dequantize(GgmlType::new(12), &[]), None);
    }
}
