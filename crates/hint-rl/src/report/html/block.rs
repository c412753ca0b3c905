//! Data of the page: compressed JSON as Base64, which no HTML parser reads as anything else.

use std::io::Write as _;

use anyhow::Result;
use data_encoding::BASE64;
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

/// A value as compressed JSON, in Base64.
pub(super) fn block(value: &impl Serialize) -> Result<String> {
    compressed(&serde_json::to_vec(value)?)
}

/// Bytes, compressed, in Base64.
fn compressed(bytes: &[u8]) -> Result<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(BASE64.encode(&encoder.finish()?))
}

/// JSON below which a shard waits for more. A browser unpacks a shard in a few milliseconds.
const SHARD: usize = 256 << 10;

/// JSON values, packed into shards: lists that are compressed together.
#[derive(Debug)]
pub(super) struct Shards {
    /// The complete shards.
    done: Vec<String>,
    /// JSON texts of the shard that is not complete.
    waiting: Vec<String>,
    waiting_bytes: usize,
    /// Bytes of the file per byte of JSON, as the last shard had it.
    pub(super) ratio: f64,
}

impl Shards {
    /// No shards yet; `like` is JSON that compresses as theirs will.
    pub(super) fn new(like: &str) -> Result<Self> {
        let ratio = compressed(like.as_bytes())?.len() as f64 / like.len().max(1) as f64;
        Ok(Self { done: Vec::new(), waiting: Vec::new(), waiting_bytes: 0, ratio })
    }

    /// Adds a JSON text. Returns its shard, and its position in there.
    pub(super) fn push(&mut self, json: String) -> Result<(usize, usize)> {
        let place = (self.done.len(), self.waiting.len());
        self.waiting_bytes += json.len();
        self.waiting.push(json);
        if self.waiting_bytes >= SHARD {
            self.finish()?;
        }
        Ok(place)
    }

    /// The shards, the last one completed.
    pub(super) fn finished(mut self) -> Result<Vec<String>> {
        self.finish()?;
        Ok(self.done)
    }

    /// Completes the last shard.
    fn finish(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let json = format!("[{}]", self.waiting.join(","));
        let shard = compressed(json.as_bytes())?;
        self.ratio = shard.len() as f64 / json.len() as f64;
        self.done.push(shard);
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Bytes of all shards in the file; of the incomplete one, as estimated.
    pub(super) fn bytes(&self) -> f64 {
        let done = self.done.iter().map(String::len).sum::<usize>();
        done as f64 + self.waiting_bytes as f64 * self.ratio
    }
}

/// A browser's reading of a block.
#[cfg(test)]
pub(super) fn unpacked(block: &str) -> serde_json::Value {
    let bytes = BASE64.decode(block.as_bytes()).unwrap();
    serde_json::from_reader(flate2::read::GzDecoder::new(bytes.as_slice())).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_where_it_was_put() {
        let mut shards = Shards::new("[1, 2]").unwrap();
        let text = |number: usize| format!("{number}-{}", "x".repeat(SHARD / 3));
        let mut places = Vec::new();
        for number in 0..7 {
            places.push(shards.push(serde_json::to_string(&text(number)).unwrap()).unwrap());
        }
        let shards = shards.finished().unwrap();
        assert_eq!(shards.len(), 3);
        for (number, (shard, at)) in places.into_iter().enumerate() {
            assert_eq!(unpacked(&shards[shard])[at], text(number));
        }
    }
}
