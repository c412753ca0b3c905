//! Reads the counts that the emulator writes (`device/emulator/counts.h` has the format).

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::process;

/// Work of a GPU, or its upper bound, for a section or for one step. Differences may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Counts {
    /// Kernels.
    pub(super) launches: f64,
    /// Times the host waits for the device.
    pub(super) waits: f64,
    /// Bytes from the host to the device.
    pub(super) sent: f64,
    /// Bytes from the device to the host.
    pub(super) read: f64,
}

impl Counts {
    /// Names and values, in the order of printing.
    pub(super) fn each(self) -> [(&'static str, f64); 4] {
        [
            ("launches", self.launches),
            ("waits", self.waits),
            ("sent", self.sent),
            ("read", self.read),
        ]
    }

    fn map2(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            launches: f(self.launches, other.launches),
            waits: f(self.waits, other.waits),
            sent: f(self.sent, other.sent),
            read: f(self.read, other.read),
        }
    }

    /// These counts of `times` steps, for one.
    pub(super) fn per(self, times: f64) -> Self {
        self.map2(self, |count, _| count / times)
    }
}

impl Add for Counts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.map2(other, |a, b| a + b)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Counts {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.map2(other, |a, b| a - b)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { launches, waits, sent, read } = self;
        write!(f, "{launches:8.1} launches {waits:6.2} waits {sent:10.0} B sent {read:10.0} B read")
    }
}

/// Work of a program between two synchronizations of the device.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Section {
    /// Largest number of bytes allocated at once.
    pub(super) peak: u64,
    /// Allocations of the process up to its end.
    pub(super) allocations: u64,
    /// All operations.
    pub(super) counts: Counts,
}

/// The sections of all processes that logged to `folder`, each process in order.
pub(super) fn read(folder: &Path) -> Result<Vec<Section>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut sections = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        sections.extend(
            parse(&process::read(&path)?).with_context(|| format!("in `{}`", path.display()))?,
        );
    }
    ensure!(!sections.is_empty(), "the emulated device wrote no counts: it was not loaded");
    Ok(sections)
}

fn parse(text: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match (fields.as_slice(), sections.last_mut()) {
            (["section", peak, allocations], _) => sections.push(Section {
                peak: peak.parse()?,
                allocations: allocations.parse()?,
                ..Section::default()
            }),
            (["count", launches, waits, _, sent, _, read, ..], Some(section)) => {
                section.counts += Counts {
                    launches: launches.parse()?,
                    waits: waits.parse()?,
                    sent: sent.parse()?,
                    read: read.parse()?,
                };
            }
            _ => anyhow::bail!("`{line}` is not a line of the emulator's log"),
        }
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_add_up_their_operations() {
        let text = "section\t512\t3\ncount\t2\t0\t0\t0\t0\t0\tmm\ncount\t0\t1\t1\t64\t1\t8\tcopy_\t0x1\nsection\t0\t3\n";
        let counts = Counts { launches: 2.0, waits: 1.0, sent: 64.0, read: 8.0 };
        let first = Section { peak: 512, allocations: 3, counts };
        let second = Section { allocations: 3, ..Section::default() };
        let expected = [first, second];
        assert_eq!(parse(text).unwrap(), expected);
        assert!(parse("count\t2\t0\t0\t0\t0\t0\tmm\n").is_err());
    }
}
