"""Cross-validation of the cloud retrieval example; see scripts/cross-validate."""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

JOB = Path(__file__).resolve().parents[2] / "examples" / "cloud_retrieval"
FOLDS = 4
TEST_ROLE = 2
COT_EDGES = (5.0, 10.0, 20.0, 50.0, 100.0, np.inf)
Planes = dict[str, NDArray[Any]]


def run_fold(scene: Path, fold: int, options: list[str], out: Path) -> tuple[dict[str, Any], Planes, float]:
    """Run one fold; return its metrics, its test pixels, and seconds of CPU."""
    buffer = [] if "--buffer" in options else ["--buffer", "12"]
    arguments = ["--data", str(scene), "--fold", str(fold), *buffer, *options]
    print("  $ " + shlex.join(["python", "retrieve.py", *arguments, "--out", "outputs"]), flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(JOB / "retrieve.py"), *arguments, "--out", str(out)]
    subprocess.run(command, cwd=JOB, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with h5py.File(out / "predictions.h5") as file:
        group = next(iter(file.values()))
        is_test = group["role"][:] == TEST_ROLE
        planes = {name: group[name][:][is_test].astype(np.float64) for name in group}
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))["scores"], planes, cpu_s


def calibration_error(cloudy: NDArray[np.bool_], probability: NDArray[Any]) -> float:
    """Return the expected calibration error: ten bins of probability, weighted by their pixels."""
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = [abs(cloudy[bins == index].sum() - probability[bins == index].sum()) for index in range(10)]
    return float(sum(gaps)) / len(cloudy)


def fold_row(scores: dict[str, Any], planes: Planes, cpu_s: float) -> tuple[float, ...]:
    """Return the numbers of one line of the table."""
    cloudy = np.isfinite(planes["truth_cloud_optical_thickness"])
    return (
        scores["cloud_mask"]["accuracy"],
        scores["cloud_optical_thickness"]["r2_log1p"],
        scores["cloud_effective_radius"]["r2"],
        calibration_error(cloudy, planes["cloud_mask_probability"]),
        cpu_s,
    )


def print_bias(planes: Planes, name: str) -> None:
    """Print the relative bias of optical thickness, overall and by bin of the retrieved value."""
    truth = planes["truth_cloud_optical_thickness"]
    cloudy = np.isfinite(truth)
    truth, estimate = truth[cloudy], planes[name][cloudy]
    print(f"  {name}: bias {(estimate.mean() / truth.mean() - 1.0):+.1%}")
    for low, high in pairwise(COT_EDGES):
        in_bin = (estimate >= low) & (estimate < high)
        if in_bin.any():
            bias = estimate[in_bin].mean() / truth[in_bin].mean() - 1.0
            print(f"    retrieved {low:>4g} to {high:<4g} {int(in_bin.sum()):>6,} pixels  {bias:+.1%}")


def print_coverage(planes: Planes) -> None:
    """Print the share of cloudy pixels whose truth lies in the intervals."""
    cot, cer = (planes[f"truth_cloud_{name}"] for name in ("optical_thickness", "effective_radius"))
    errors = {
        "log_optical_thickness": np.log1p(cot) - np.log1p(planes["cloud_optical_thickness"]),
        "effective_radius": cer - planes["cloud_effective_radius"],
    }
    for name, error in errors.items():
        known = np.isfinite(error)
        inside = [(np.abs(error) <= planes[f"{name}_half_width_{level}"])[known].mean() for level in (68, 95)]
        print(f"  {name}: 68% interval contains {inside[0]:.1%}, 95% interval {inside[1]:.1%}")


def main() -> int:
    """Run all folds and print the tables."""
    scene, options = Path(sys.argv[1]).resolve(), sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        folds = [run_fold(scene, fold, options, Path(folder)) for fold in range(FOLDS)]
    rows = [fold_row(*values) for values in folds]
    print("  fold    mask   R2 log(1+COT)  R2 CER    ECE   CPU s")
    means = tuple(float(np.mean(column)) for column in zip(*rows, strict=True))
    for name, row in [*((str(fold), row) for fold, row in enumerate(rows)), ("mean", means)]:
        print(f"  {name:<6} {row[0]:.4f}   {row[1]:.4f}         {row[2]:.4f}  {row[3]:.4f}  {row[4]:5.1f}")
    planes = {name: np.concatenate([part[name] for _, part, _ in folds]) for name in folds[0][1]}
    cloudy = np.isfinite(planes["truth_cloud_optical_thickness"])
    print(f"  all folds: ECE {calibration_error(cloudy, planes['cloud_mask_probability']):.4f}")
    for name in ("cloud_optical_thickness", "cloud_optical_thickness_mean"):
        if name in planes:
            print_bias(planes, name)
    if "log_optical_thickness_half_width_68" in planes:
        print_coverage(planes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
