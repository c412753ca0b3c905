//! A fingerprint of the training data.

/// Number of items, and CRC-32 over their parts in order.
pub fn fingerprint<'a, P>(items: impl IntoIterator<Item = P>) -> String
where
    P: IntoIterator<Item = &'a [u8]>,
{
    let mut hasher = crc32fast::Hasher::new();
    let mut count = 0;
    for item in items {
        count += 1;
        for part in item {
            hasher.update(part);
            hasher.update(&[0]);
        }
    }
    format!("{count}-{:08x}", hasher.finalize())
}
