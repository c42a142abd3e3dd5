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
    """A granule's columns, by name; the same for the same seed and number."""
    rng = np.random.default_rng([seed, number])
    granule = draw_conditions(rng)
    scene = simulate_cross_section(granule, count, rng)
    found = {f"CALIOP_{name}": line for name, line in lidar_features(granule, scene, count, rng).items()}
    found |= radiometer_features(granule, scene, count, rng)
    named: dict[str, NDArray[Any]] = {name: line.astype(np.float32) for name, line in found.items()}
    return named | {variable_names.LABEL: column_labels(scene, count)}


def write_granules(out: Path, *, seed: int, granules: int, count: int) -> None:
    """Write so many granules of so many columns each to a folder, made if need be."""
    out.mkdir(parents=True, exist_ok=True)
    for number in range(granules):
        path = out / f"match_data.synthetic.{number:03d}.npz"
        np.savez_compressed(path, allow_pickle=False, **simulate_granule(seed, number, count))
    facts = {"synthetic": True, "made_by": "make_columns.py", "seed": seed, "granules": granules, "columns": count}
    (out / SYNTHETIC_MARK).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main(words: list[str] | None = None) -> int:
    """The command line of ``make_columns.py``; the exit code."""
    parser = argparse.ArgumentParser(prog="make_columns.py", description="Synthetic columns that two sensors saw.")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the files; made if need be")
    parser.add_argument("--granules", type=int, default=120, metavar="N", help="files (default: 120)")
    parser.add_argument("--columns", type=int, default=300, metavar="N", help="of each granule (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other weather (default: 1)")
    asked = parser.parse_args(words)
    if asked.seed < 0 or not 1 <= asked.granules <= 10**4 or not 10 <= asked.columns <= 10**5:
        parser.exit(2, "make_columns.py: --seed from 0, --granules from 1 to 10000, --columns from 10 to 100000\n")
    try:
        write_granules(asked.out, seed=asked.seed, granules=asked.granules, count=asked.columns)
    except OSError as error:
        parser.exit(2, f"make_columns.py: {error.filename}: {error.strerror}\n")
    print(f"{asked.granules} synthetic granules of {asked.columns} columns in {asked.out}")
    return 0
