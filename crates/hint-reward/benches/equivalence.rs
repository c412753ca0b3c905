//! Pairs judged per second: `cargo bench -p hint-reward`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hint_reward::{MathVerifier, RewardInput, Verifier};

/// Completion and reference, from cheap to dear.
const PAIRS: &[(&str, &str, &str)] = &[
    ("integer", r"So \boxed{42}.", "42"),
    ("fraction", r"So \boxed{\frac{3}{4}}.", "0.75"),
    ("polynomial", r"So \boxed{x^3 + 3x^2y + 3xy^2 + y^3}.", "(x+y)^3"),
    ("radicals", r"So \boxed{\sqrt{3 + 2\sqrt{2}}}.", r"1 + \sqrt{2}"),
    ("trigonometry", r"So \boxed{2\sin x\cos x}.", r"\sin 2x"),
    ("intervals", r"So \boxed{(-\infty, 1) \cup [2, 3)}.", r"x < 1 \text{ or } 2 \le x < 3"),
    ("sentence", "We add 17 and 25. The final answer is 42.", "42"),
];

fn equivalence(criterion: &mut Criterion) {
    let verifier = MathVerifier::new();
    let mut group = criterion.benchmark_group("equivalence");
    group.throughput(Throughput::Elements(1));
    for (name, completion, reference) in PAIRS {
        let input = RewardInput::new(completion, reference);
        assert!(verifier.verify(&input).verdict.is_correct(), "{name}");
        group.bench_function(*name, |bencher| bencher.iter(|| verifier.verify(black_box(&input))));
    }
    group.finish();
}

criterion_group!(benches, equivalence);
criterion_main!(benches);
