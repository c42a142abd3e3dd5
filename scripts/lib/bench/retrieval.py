"""Measure the cloud retrieval example: scores on a real scene, and one worker compared with two.

    scripts/bench retrieval [--scene FILE] [--scenes 4] [--rounds 2] [--least RATIO] [--only scores|speed] [OPTION...]

OPTION: options of retrieve.py, such as --fast or --model trees.

The scene defaults to LES_profile_00579.hdf5 in the folder named by STRATUS_TEST_DATA, else in shared/data beside the
checkout. Scores come from the job's own command line, printed as it is run, once per fold: the four folds evaluate
each pixel once. Speed: synthetic scenes, worker processes of one thread each on this computer, in turns; the best of
--rounds counts, hashes must agree; it takes about three minutes on two cores without other load. Exits 1 when a mean
score is below its bar, hashes differ, or the speed-up is below --least.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
JOB = ROOT / "examples" / "cloud_retrieval"
STAGES = ("read", "train", "predict")
# Least means of the four folds: mask, R2 of log(1+COT), R2 of CER.
BARS, BARS_WITH_OPTIONS = (0.982, 0.895, 0.615), (0.97, 0.86, 0.58)


def job(arguments: list[str], out: Path, *, show: bool = False) -> dict[str, Any]:
    """Run the job's command line and return its metrics."""
    command = ["python", "retrieve.py", *arguments]
    if show:
        print("  $ " + shlex.join([*command, "--out", "outputs"]))
    full = [sys.executable, str(JOB / "retrieve.py"), *arguments, "--out", str(out)]
    subprocess.run(full, cwd=JOB, check=True, stdout=subprocess.DEVNULL)
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def scores(scene: Path, folder: Path, job_options: list[str]) -> bool:
    """Print the scores of the four folds; True if the means reach their bars."""
    print(f"{scene.name}: tiles held out inside the scene, buffer between")
    rows = []
    for fold in range(4):
        fold_scores = job(
            ["--data", str(scene), "--fold", str(fold), *job_options], folder / f"fold-{fold}", show=True
        )["scores"]
        rows.append(
            (
                fold_scores["cloud_mask"]["accuracy"],
                fold_scores["cloud_mask"]["baseline_larger_class"],
                fold_scores["cloud_optical_thickness"]["r2_log1p"],
                fold_scores["cloud_effective_radius"]["r2"],
            )
        )
    print("  fold   mask   (baseline)       R2 log(1+COT)   R2 CER")
    means = tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
    for name, row in [*((str(fold), row) for fold, row in enumerate(rows)), ("mean", means)]:
        print(f"  {name:<6} {row[0]:.3f}  {row[1]:.3f}            {row[2]:.3f}           {row[3]:.3f}")
    bars = BARS_WITH_OPTIONS if job_options else BARS
    return all(mean >= bar for mean, bar in zip((means[0], *means[2:]), bars, strict=True))


def speed(options: argparse.Namespace, folder: Path, job_options: list[str]) -> bool:
    """Print the seconds with one worker and with two; True if results agree and the speed-up is enough."""
    data = folder / "data"
    make = [sys.executable, str(JOB / "synthesize.py"), "--scenes", str(options.scenes), "--out", str(data)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    arguments = ["--data", str(data), *job_options]
    runs = [[on_workers(count, arguments, folder / "out") for count in (1, 2)] for _ in range(options.rounds)]
    single, double = (min(column, key=seconds) for column in zip(*runs, strict=True))
    print(f"\n{options.scenes} synthetic scenes of 144 x 144, workers of one thread   {shlex.join(job_options)}")
    print("  stage      1 worker   2 workers   ratio")
    for stage in (*STAGES, "together"):
        single_s, double_s = (seconds(run, stage) for run in (single, double))
        print(f"  {stage:<10} {single_s:6.2f} s   {double_s:6.2f} s    {single_s / double_s:.2f}")
    hashes = {run[part]["sha256"] for part in ("model", "predictions") for pair in runs for run in pair}
    print(f"  model and predictions {'identical in all runs' if len(hashes) == 2 else 'DIFFER'}")
    return len(hashes) == 2 and seconds(single) / seconds(double) >= options.least


def on_workers(count: int, arguments: list[str], out: Path) -> dict[str, Any]:
    """Return the metrics of a run on this many worker processes of one thread."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster:
        return job([*arguments, "--scheduler", cluster.scheduler_address], out)


def seconds(run: dict[str, Any], stage: str = "together") -> float:
    """Return the seconds of one stage of a run, or of all stages on workers."""
    stage_seconds: dict[str, float] = run["run"]["seconds"]
    return sum(stage_seconds[name] for name in (STAGES if stage == "together" else (stage,)))


def main() -> int:
    """Measure; 1 if something is below its bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = Path(os.environ.get("STRATUS_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--scene", type=Path, default=data / "LES_profile_00579.hdf5")
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2, help="repetitions")
    parser.add_argument("--least", type=float, default=0.0, help="smallest acceptable speed-up")
    parser.add_argument("--only", choices=("scores", "speed"))
    options, job_options = parser.parse_known_args()
    passed = []
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "speed":
            if options.scene.is_file():
                passed.append(scores(options.scene, Path(folder), job_options))
            else:
                print(f"no scene at {options.scene}: scores skipped")
        if options.only != "scores":
            passed.append(speed(options, Path(folder), job_options))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
