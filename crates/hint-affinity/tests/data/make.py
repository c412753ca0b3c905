"""Writes the Parquet dumps that `tests/it/report.rs` reads, with pandas (one column of float32, as a trainer has it)."""

import numpy
import pandas

rows = pandas.DataFrame({
    "logprobs": [numpy.float32(row) for row in ([-1.0, -2.0], [-1.0, -9.0, -3.0])],
    "old_logprobs": [[-1.05, -2.5], [-1.0, 0.0, -3.1]],
    "advantages": [[1.5, 1.5], [-2.0, 5.0, -1.0]],
    "mask": [[1, 1], [1, 0, 1]],
    "group": [7, 8],
    "source": ["plain", None],
})
for compression in ["none", "snappy", "gzip", "zstd", "brotli"]:
    rows.to_parquet(f"dump-{compression}.parquet", compression=None if compression == "none" else compression)
