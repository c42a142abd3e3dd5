"""The newest run on one VM beside the newest on several: the table of results that the demo ends with.

    python scripts/lib/compare_runs.py runs [--within 1e-6]

Every number in the two ``metrics.json`` is compared, except the facts about the run itself (``run``: workers, seconds).
Exits 1 when one of them differs by more than ``--within``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROWS = {
    "cloud mask accuracy": "scores.cloud_mask.accuracy",
    "  majority-class baseline": "scores.cloud_mask.baseline_larger_class",
    "R2 log(1+COT)": "scores.cloud_optical_thickness.r2_log1p",
    "R2 CER": "scores.cloud_effective_radius.r2",
    "RMSE CER, um": "scores.cloud_effective_radius.rmse",
    "evaluated pixels": "scores.judged_pixels",
}


def newest(runs: Path, *, multi: bool) -> Path:
    """Return the folder of the newest fetched run on one VM, or on several."""
    for folder in sorted(runs.iterdir(), reverse=True):
        record = folder / "record.json"
        fetched = (folder / "outputs/metrics.json").exists() and record.exists()
        if fetched and json.loads(record.read_text())["multi"] is multi:
            return folder
    raise SystemExit(f"{runs}: no run on {'several VMs' if multi else 'one VM'} was fetched")


def numbers(facts: dict[str, Any], name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number below a metrics.json with its dotted name."""
    for key, value in facts.items():
        if not name and key == "run":
            continue
        if isinstance(value, dict):
            yield from numbers(value, f"{name}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{name}{key}", float(value)


def main() -> int:
    """Print the table; 1 if the runs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--within", type=float, default=1e-6)
    options = parser.parse_args()
    folders = [newest(options.runs, multi=multi) for multi in (False, True)]
    metrics = [json.loads((folder / "outputs/metrics.json").read_text()) for folder in folders]
    single, multi = (dict(numbers(document)) for document in metrics)
    if single.keys() != multi.keys():
        raise SystemExit(f"the runs measured different things: {sorted(single.keys() ^ multi.keys())}")
    print(f"  {'':26} {'one VM':>12} {'two VMs':>12}")
    for label, name in ROWS.items():
        if name in single:
            print(f"  {label:26} {single[name]:12.6g} {multi[name]:12.6g}")
    difference = max(abs(single[name] - multi[name]) for name in single)
    parts = ("model", "predictions")
    digests = [[document[part]["sha256"][:12] for part in parts] for document in metrics]
    for index, label in enumerate(parts):
        print(f"  {label + ' (sha256)':26} {digests[0][index]:>12} {digests[1][index]:>12}")
    agree = difference <= options.within
    print(
        f"\n{'The two agree' if agree else 'THE TWO DIFFER'}: {len(single)} numbers, largest difference {difference:g}."
    )
    print(f"Figure: {folders[1] / 'outputs/retrieval.png'}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
