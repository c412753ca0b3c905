"""Reads events.out.tfevents.golden with TensorBoard and compares it with what the test of hint-grpo wrote.

The test writes the file (`HINT_BLESS=1`); this program shows that TensorBoard reads it. Checked with tensorboard 2.21.0.

    python tests/golden/gen/read_events.py [FILE]
"""

import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "events.out.tfevents.golden"
events = EventAccumulator(str(path))
events.Reload()

STEPS = [0, 1, 2, 300]
ALL = {
    "train/reward": [0.25 * step for step in STEPS],
    "train/hint/rescued_frac": [0.5] * 4,
    "train/rollout_s": [3.0] * 4,
    "train/update_s": [0.0] * 4,
    "train/sync_s": [0.0] * 4,
    "train/evaluation_s": [0.0] * 4,
    "train/checkpoint_s": [0.0] * 4,
    "train/step_time": [3.0] * 4,
    "train/tokens": [96.0] * 4,
    "train/tokens_per_second": [32.0] * 4,
    "eval/avg": [0.125],
}
assert sorted(events.Tags()["scalars"]) == sorted(ALL), events.Tags()["scalars"]
for name, values in ALL.items():
    scalars = events.Scalars(name)
    assert [scalar.value for scalar in scalars] == values, (name, scalars)
    assert [scalar.step for scalar in scalars] == STEPS[: len(values)], (name, scalars)
    for scalar in scalars:
        assert abs(scalar.wall_time - (1_700_000_000.5 + scalar.step / 1000)) < 1e-6, scalar
print(f"{path}: {len(ALL)} names, {len(STEPS)} steps")
