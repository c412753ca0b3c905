//! Number of CPU threads.

/// The cores that this process may use: its affinity mask, at most its cgroup's quota.
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_affinity_mask_counts() {
        let cpus = usable_cpus();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"));
        let allowed = mask.map_or(cpus, |mask| {
            mask.chars()
                .filter_map(|digit| digit.to_digit(16))
                .map(|digit| digit.count_ones() as usize)
                .sum()
        });
        assert!(cpus >= 1 && cpus <= allowed, "{cpus} of {allowed}");
    }
}
