"""Fit a line to data/observations.csv by gradient descent, and measure its error on rows that were held out.

    python train.py --data data --out outputs

On several VMs each holds out another part of the rows. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from pathlib import Path

Rows = list[tuple[float, float]]


def read(path: Path) -> Rows:
    """Read the columns x and y."""
    with path.open(newline="") as file:
        return [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]


def split(rows: Rows, part: int, parts: int) -> tuple[Rows, Rows]:
    """Return rows for training and for the test: the part with this number, out of so many."""
    return [row for i, row in enumerate(rows) if i % parts != part], rows[part::parts]


def rmse(rows: Rows, slope: float, offset: float) -> float:
    """Return the root of the mean squared error."""
    return math.sqrt(sum((slope * x + offset - y) ** 2 for x, y in rows) / len(rows))


def train(rows: Rows, epochs: int, rate: float) -> tuple[float, float]:
    """Return slope and offset, by gradient descent."""
    slope = offset = 0.0
    for epoch in range(1, epochs + 1):
        errors = [(slope * x + offset - y, x) for x, y in rows]
        slope -= rate * 2 * sum(error * x for error, x in errors) / len(rows)
        offset -= rate * 2 * sum(error for error, _ in errors) / len(rows)
        if epoch % (epochs // 5 or 1) == 0:
            print(f"epoch {epoch}/{epochs}  rmse {rmse(rows, slope, offset):.3f}", flush=True)
    return slope, offset


def main() -> None:
    """Train, test, and write outputs/metrics.json, which Stratus shows when it has fetched the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("outputs"))
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.1)
    options = parser.parse_args()

    rank, size = int(os.environ.get("STRATUS_RANK", "0")), int(os.environ.get("STRATUS_SIZE", "1"))
    parts = max(size, 5)
    training, test = split(read(options.data / "observations.csv"), rank, parts)
    slope, offset = train(training, options.epochs, options.rate)
    metrics = {"slope": round(slope, 3), "offset": round(offset, 3), "test_rmse": round(rmse(test, slope, offset), 3)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "metrics.json").write_text(json.dumps(metrics) + "\n")
    print(f"test rmse {metrics['test_rmse']}, rows {rank}, {rank + parts}, ... held out")


if __name__ == "__main__":
    main()
