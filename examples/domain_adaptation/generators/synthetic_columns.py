"""Synthetic columns as observed by a lidar and a radiometer, one file per granule, named as in real collocations.

The physics and its sources are documented in :mod:`generators.synthetic_cross_sections` and
:mod:`generators.sensor_models`. Results on these columns show that the program works; they say nothing about real
    sensors. A granule depends on the seed and its number only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from adaptation import variable_names
from adaptation.image_folders import SYNTHETIC_MARK
from numpy.typing import NDArray

from generators.sensor_models import column_labels, lidar_features, radiometer_features
from generators.synthetic_cross_sections import draw_conditions, simulate_cross_section


def simulate_granule(seed: int, number: int, count: int) -> dict[str, NDArray[Any]]:
    """Return the columns of a granule, by variable name; determined by seed and number."""
    rng = np.random.default_rng([seed, number])
    conditions = draw_conditions(rng)
    section = simulate_cross_section(conditions, count, rng)
    features = {f"CALIOP_{name}": values for name, values in lidar_features(conditions, section, count, rng).items()}
    features |= radiometer_features(conditions, section, count, rng)
    variables: dict[str, NDArray[Any]] = {name: values.astype(np.float32) for name, values in features.items()}
    return variables | {variable_names.LABEL: column_labels(section, count)}


def write_granules(out: Path, *, seed: int, granules: int, count: int) -> None:
    """Write granules of ``count`` columns each to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for number in range(granules):
        path = out / f"match_data.synthetic.{number:03d}.npz"
        np.savez_compressed(path, allow_pickle=False, **simulate_granule(seed, number, count))
    mark = {"synthetic": True, "made_by": "make_columns.py", "seed": seed, "granules": granules, "columns": count}
    (out / SYNTHETIC_MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")


def main(args: list[str] | None = None) -> int:
    """Run the command line of ``make_columns.py``; return the exit code."""
    parser = argparse.ArgumentParser(prog="make_columns.py", description="Synthetic columns of two sensors.")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for the files; created if missing"
    )
    parser.add_argument("--granules", type=int, default=120, metavar="N", help="number of files (default: 120)")
    parser.add_argument("--columns", type=int, default=300, metavar="N", help="columns per granule (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all granules (default: 1)")
    options = parser.parse_args(args)
    if options.seed < 0 or not 1 <= options.granules <= 10**4 or not 10 <= options.columns <= 10**5:
        parser.exit(2, "make_columns.py: --seed from 0, --granules from 1 to 10000, --columns from 10 to 100000\n")
    try:
        write_granules(options.out, seed=options.seed, granules=options.granules, count=options.columns)
    except OSError as error:
        parser.exit(2, f"make_columns.py: {error.filename}: {error.strerror}\n")
    print(f"{options.granules} synthetic granules of {options.columns} columns in {options.out}")
    return 0
