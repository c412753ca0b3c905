//! Element types of GGUF tensors, and their values as `f32`.

use std::fmt;

use half::{bf16, f16};

/// Types [`dequantize`] implements.
pub(super) const SUPPORTED: &str =
    "F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";

/// Elements of one block of the quantized types below.
const BLOCK: usize = 32;

/// Elements of one block of the K types.
const K_BLOCK: usize = 256;

/// Bytes of the six-bit scales and offsets of a [`K_BLOCK`].
const K_SCALES: usize = 12;

/// Element type of a tensor, by its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GgmlType(u32);

impl GgmlType {
    const F32: Self = Self(0);
    const F16: Self = Self(1);
    const Q4_0: Self = Self(2);
    const Q4_1: Self = Self(3);
    const Q5_0: Self = Self(6);
    const Q5_1: Self = Self(7);
    const Q8_0: Self = Self(8);
    const Q4_K: Self = Self(12);
    const Q5_K: Self = Self(13);
    const Q6_K: Self = Self(14);
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
            Self::Q5_0 => Some((BLOCK, 2 + 4 + BLOCK / 2)),
            Self::Q5_1 => Some((BLOCK, 4 + 4 + BLOCK / 2)),
            Self::Q8_0 => Some((BLOCK, 2 + BLOCK)),
            Self::Q4_K => Some((K_BLOCK, 4 + K_SCALES + K_BLOCK / 2)),
            Self::Q5_K => Some((K_BLOCK, 4 + K_SCALES + K_BLOCK / 8 + K_BLOCK / 2)),
            Self::Q6_K => Some((K_BLOCK, K_BLOCK / 2 + K_BLOCK / 4 + K_BLOCK / 16 + 2)),
            _ => None,
        }
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 41] = [
            "F32",
            "F16",
            "Q4_0",
            "Q4_1",
            "Q4_2",
            "Q4_3",
            "Q5_0",
            "Q5_1",
            "Q8_0",
            "Q8_1",
            "Q2_K",
            "Q3_K",
            "Q4_K",
            "Q5_K",
            "Q6_K",
            "Q8_K",
            "IQ2_XXS",
            "IQ2_XS",
            "IQ3_XXS",
            "IQ1_S",
            "IQ4_NL",
            "IQ3_S",
            "IQ2_S",
            "IQ4_XS",
            "I8",
            "I16",
            "I32",
            "I64",
            "F64",
            "IQ1_M",
            "BF16",
            "Q4_0_4_4",
            "Q4_0_4_8",
            "Q4_0_8_8",
            "TQ1_0",
            "TQ2_0",
            "IQ4_NL_4_4",
            "IQ4_NL_4_8",
            "IQ4_NL_8_8",
            "MXFP4",
            "NVFP4",
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
            GgmlType::Q5_0 => {
                let scale = half(block);
                fifth_bits(&block[2..6], &block[6..], &mut values, |q| (q - 16.0) * scale);
            }
            GgmlType::Q5_1 => {
                let (scale, offset) = (half(block), half(&block[2..]));
                fifth_bits(&block[4..8], &block[8..], &mut values, |q| q * scale + offset);
            }
            GgmlType::Q4_K => k_block(block, None, &block[4 + K_SCALES..], &mut values),
            GgmlType::Q5_K => {
                let (high, low) = block[4 + K_SCALES..].split_at(K_BLOCK / 8);
                k_block(block, Some(high), low, &mut values);
            }
            GgmlType::Q6_K => q6_k(block, &mut values),
            _ => return None,
        }
    }
    Some(values)
}

/// As [`nibbles`], with a fifth bit of each value in the 32 bits of `high`.
fn fifth_bits(high: &[u8], low: &[u8], values: &mut Vec<f32>, value: impl Fn(f32) -> f32) {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    for (shift, first) in [(0, 0), (4, BLOCK / 2)] {
        for (index, byte) in low.iter().enumerate() {
            let fifth = if high >> (first + index) & 1 == 1 { 16 } else { 0 };
            values.push(value(f32::from((byte >> shift) & 15 | fifth)));
        }
    }
}

/// One block of `Q4_K`, or of `Q5_K` if there are `high` bits. It has eight parts of 32 values, each
/// with a six-bit scale and a six-bit offset, which are themselves scaled.
fn k_block(block: &[u8], high: Option<&[u8]>, low: &[u8], values: &mut Vec<f32>) {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    let offset = f16::from_le_bytes([block[2], block[3]]).to_f32();
    let packed = &block[4..4 + K_SCALES];
    for part in 0..8 {
        // The first four scales and offsets are the low six bits of the first eight bytes; the
        // others have four bits in the last four bytes and two in the tops of the first eight.
        let (own_scale, own_offset) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            let bits = packed[part + 4];
            (bits & 15 | packed[part - 4] >> 6 << 4, bits >> 4 | packed[part] >> 6 << 4)
        };
        let (scale, offset) = (scale * f32::from(own_scale), offset * f32::from(own_offset));
        // Two parts share 32 bytes, one in the low halves and one in the high halves.
        let bytes = &low[part / 2 * 32..][..32];
        for (index, byte) in bytes.iter().enumerate() {
            let fifth = high.is_some_and(|high| high[index] >> part & 1 == 1);
            let q = byte >> (part % 2 * 4) & 15 | if fifth { 16 } else { 0 };
            values.push(scale * f32::from(q) - offset);
        }
    }
}

/// One block of `Q6_K`: four low bits, two high bits, and a signed scale for each 16 values.
fn q6_k(block: &[u8], values: &mut Vec<f32>) {
    let (low, rest) = block.split_at(K_BLOCK / 2);
    let (high, rest) = rest.split_at(K_BLOCK / 4);
    let (scales, scale) = rest.split_at(K_BLOCK / 16);
    let scale = f16::from_le_bytes([scale[0], scale[1]]).to_f32();
    for index in 0..K_BLOCK {
        // Halves of 128 values: four runs of 32, of which two share the bytes of `low` and all
        // four share those of `high`.
        let (half, run, at) = (index / 128, index / 32 % 4, index % 32);
        let bits = low[half * 64 + run % 2 * 32 + at] >> (run / 2 * 4) & 15;
        let top = high[half * 32 + at] >> (run * 2) & 3;
        let q = f32::from(bits | top << 4) - 32.0;
        values.push(scale * f32::from(scales[index / 16].cast_signed()) * q);
    }
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
        assert_eq!(GgmlType::new(10).to_string(), "Q2_K");
        assert_eq!(GgmlType::new(99).to_string(), "number 99");
        assert_eq!(dequantize(GgmlType::new(10), &[]), None);
    }

    #[test]
    fn quantized_blocks_hold_what_the_gguf_package_says() {
        #[derive(serde::Deserialize)]
        struct Golden {
            cases: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            name: String,
            kind: u32,
            bytes: Vec<u8>,
            expected: Vec<f32>,
        }
        let json = include_str!("../../tests/gguf_blocks.json");
        let golden: Golden = serde_json::from_str(json).unwrap();
        assert!(golden.cases.len() >= 8);
        for case in golden.cases {
            let values = dequantize(GgmlType::new(case.kind), &case.bytes).unwrap();
            assert_eq!(values.len(), case.expected.len(), "{}", case.name);
            for (index, (value, expected)) in values.iter().zip(&case.expected).enumerate() {
                let tolerance = 1e-6 * expected.abs().max(1.0);
                assert!(
                    (value - expected).abs() <= tolerance,
                    "{}[{index}]: found {value}, expected {expected}",
                    case.name
                );
            }
        }
    }
}
