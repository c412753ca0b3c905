//! Affinity of 64k tokens: `cargo bench -p hint-affinity`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hint_affinity::{AffinityAccumulator, AffinityVariant, ClipRange};

fn affinity_64k(criterion: &mut Criterion) {
    let clip = ClipRange::symmetric(0.2).expect("0.2 is valid");
    let log_ratios: Vec<f64> = (0..65_536).map(|token| 0.3 * f64::from(token).sin()).collect();
    let weights: Vec<f64> = (0..65_536).map(|token| 1.0 + f64::from(token % 7)).collect();
    let mut group = criterion.benchmark_group("affinity_64k");
    group.throughput(Throughput::Elements(log_ratios.len() as u64));
    for (name, variant) in [("weighted", AffinityVariant::Weighted), ("v1", AffinityVariant::V1)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut accumulator = AffinityAccumulator::with_variant(clip, variant);
                accumulator
                    .extend(black_box(&log_ratios), black_box(&weights))
                    .expect("valid tokens");
                accumulator.affinity()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, affinity_64k);
criterion_main!(benches);
