//! Machines, by the numbers of their data sheets.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// One GPU with its links, and the shares of its peaks that are assumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    /// Its name.
    #[serde(default)]
    pub(super) name: String,
    /// Peak of dense products in bfloat16, in FLOP/s.
    pub(super) flops: f64,
    /// Peak of its memory, in bytes per second.
    pub(super) memory_bandwidth: f64,
    /// Its memory, in bytes.
    pub(super) memory: f64,
    /// Link to a GPU of the same node, in bytes per second and direction.
    pub(super) link_within: f64,
    /// Share of the node's network that a GPU has, in bytes per second and direction.
    pub(super) link_between: f64,
    /// Time of one message between nodes, in seconds.
    #[serde(default = "link_latency")]
    pub(super) link_latency: f64,
    /// GPUs of a node.
    #[serde(default = "gpus_per_node")]
    pub(super) gpus_per_node: u64,
    /// What one process reaches where gradients travel through host memory, in bytes per second.
    #[serde(default = "gloo_bandwidth")]
    pub(super) gloo_bandwidth: f64,
    /// Folder through which servers get weights, in bytes per second.
    #[serde(default = "disk_bandwidth")]
    pub(super) disk_bandwidth: f64,
    /// Price of one GPU for an hour, in any currency.
    #[serde(default)]
    pub(super) price_per_hour: Option<f64>,
    /// Share of the peak arithmetic that training reaches.
    #[serde(default = "mfu")]
    pub(super) mfu: f64,
    /// Share that sampling reaches of its bound, which is the bandwidth or the arithmetic.
    #[serde(default = "sampling_efficiency")]
    pub(super) sampling_efficiency: f64,
}

const fn link_latency() -> f64 {
    20e-6
}

const fn gpus_per_node() -> u64 {
    8
}

const fn gloo_bandwidth() -> f64 {
    1e9
}

const fn disk_bandwidth() -> f64 {
    2e9
}

const fn mfu() -> f64 {
    0.4
}

const fn sampling_efficiency() -> f64 {
    0.5
}

/// Peaks of a data sheet: FLOP/s, bytes per second of memory, bytes of memory, bytes per second of both links.
type Sheet = (&'static str, [f64; 5]);

/// NVIDIA's data sheets: dense bfloat16, SXM or HGX boards where there are any. `NVLink` counts per direction. The network
/// is what such nodes usually have for each GPU. It has 200 Gb/s, 400 Gb/s from H100 on, and 100 Gb/s beside an L40S.
const SHEETS: [Sheet; 5] = [
    ("a100-80", [312e12, 2.039e12, 80e9, 300e9, 25e9]),
    ("h100", [989e12, 3.35e12, 80e9, 450e9, 50e9]),
    ("h200", [989e12, 4.8e12, 141e9, 450e9, 50e9]),
    ("b200", [2250e12, 8e12, 180e9, 900e9, 50e9]),
    ("l40s", [362e12, 864e9, 48e9, 32e9, 12.5e9]),
];

impl Machine {
    /// The machine of that name, or of the file `name` in TOML.
    ///
    /// # Errors
    ///
    /// A name that is neither; a file that cannot be read, or with values out of range.
    pub(super) fn read(name: &str) -> Result<Self> {
        if let Some(sheet) = SHEETS.iter().find(|(known, _)| *known == name) {
            return Ok(Self::of(sheet));
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|ending| ending != "toml") {
            let known = SHEETS.map(|(known, _)| format!("`{known}`")).join(", ");
            bail!("there is no machine `{name}`; give one of {known}, or a file `MACHINE.toml`");
        }
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
        let machine = toml::from_str::<Self>(&text).with_context(|| format!("in `{name}`"))?;
        machine.check().with_context(|| format!("in `{name}`"))?;
        let stem = path.file_stem().map_or_else(String::new, |stem| stem.display().to_string());
        let name = if machine.name.is_empty() { stem } else { machine.name.clone() };
        Ok(Self { name, ..machine })
    }

    fn of((name, [flops, memory_bandwidth, memory, link_within, link_between]): &Sheet) -> Self {
        Self {
            name: (*name).to_owned(),
            flops: *flops,
            memory_bandwidth: *memory_bandwidth,
            memory: *memory,
            link_within: *link_within,
            link_between: *link_between,
            link_latency: link_latency(),
            gpus_per_node: gpus_per_node(),
            gloo_bandwidth: gloo_bandwidth(),
            disk_bandwidth: disk_bandwidth(),
            price_per_hour: None,
            mfu: mfu(),
            sampling_efficiency: sampling_efficiency(),
        }
    }

    fn check(&self) -> Result<()> {
        let positive = [
            ("flops", self.flops),
            ("memory_bandwidth", self.memory_bandwidth),
            ("memory", self.memory),
            ("link_within", self.link_within),
            ("link_between", self.link_between),
            ("gpus_per_node", self.gpus_per_node as f64),
            ("gloo_bandwidth", self.gloo_bandwidth),
            ("disk_bandwidth", self.disk_bandwidth),
            ("mfu", self.mfu),
            ("sampling_efficiency", self.sampling_efficiency),
        ];
        for (key, value) in positive {
            ensure!(
                value.is_finite() && value > 0.0,
                "`{key}` must be a positive number, not {value}"
            );
        }
        for (key, value) in
            [("link_latency", Some(self.link_latency)), ("price_per_hour", self.price_per_hour)]
        {
            let value = value.unwrap_or(0.0);
            ensure!(value.is_finite() && value >= 0.0, "`{key}` must not be negative: {value}");
        }
        Ok(())
    }

    /// A machine with this share of its arithmetic and of its bandwidth, as where processes share cores.
    pub(super) fn part(&self, share: f64) -> Self {
        Self {
            flops: self.flops * share,
            memory_bandwidth: self.memory_bandwidth * share,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_machine_is_refused_with_the_known_ones() {
        let error = Machine::read("h300").unwrap_err().to_string();
        for (name, _) in SHEETS {
            assert!(error.contains(&format!("`{name}`")), "{error}");
            assert_eq!(Machine::read(name).unwrap().check().ok(), Some(()));
        }
        assert!(error.contains("`h300`") && error.contains("MACHINE.toml"), "{error}");
    }

    #[test]
    fn a_file_gives_the_peaks_and_may_leave_the_rest_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("two-cores.toml");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Machine::read(&file.to_string_lossy())
        };
        let peaks = "flops = 2e11\nmemory_bandwidth = 6e10\nmemory = 24e9\nlink_within = 1e9\nlink_between = 1e9\n";
        let machine = read(peaks).unwrap();
        assert_eq!((machine.name.as_str(), machine.flops, machine.mfu), ("two-cores", 2e11, mfu()));
        assert_eq!(read(&format!("{peaks}mfu = 0.5\n")).unwrap().mfu, 0.5);
        for (line, words) in [
            ("mfu = 0\n", "`mfu` must be a positive number"),
            ("price_per_hour = -1\n", "`price_per_hour` must not be negative"),
            ("cores = 2\n", "unknown field `cores`"),
        ] {
            let error = format!("{:#}", read(&format!("{peaks}{line}")).unwrap_err());
            assert!(error.contains(words) && error.contains("two-cores.toml"), "{error}");
        }
    }
}
