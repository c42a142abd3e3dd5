"""The domain adaptation example, measured: is adaptation better than the source alone, and what does the loop cost?

    scripts/bench adaptation [--task images|sensors] [--seeds 5] [--epochs 15] [--jobs N] [--markdown]
                              [--only accuracy|throughput]

Accuracy: for each of the seeds 0, 1, 2, ... new images are generated (32 x 32, amazon -> webcam) and every method is
trained from the same initial weights on the same batches. No seed is left out and no epoch is selected: the figure is
the target accuracy after the last epoch. Exits 1 unless each method's mean gain over the source alone is above two
standard errors. Between sensors: for each seed new granules are generated and split; gains are over training on pairs
without alignment, and it exits 1 unless that is better, by two standard errors, than the majority-class baseline and
than every alignment without pairs. Throughput (images): seconds per step of the job's loop without a method and of a
plain PyTorch loop that trains the same network on the source alone, with the same images and batch size, step by step
in turns; CPU time of one thread on a CPU. Exits 1 if the ratio of the medians is above 1.1.

Needs torch: run it with an environment that has it (scripts/training-env makes .venv-training).
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
JOB = ROOT / "examples" / "domain_adaptation"
METHODS = {"none": "source only", "coral": "DeepCORAL", "dan": "DAN", "dann": "DANN", "cdan": "CDAN", "mcc": "MCC"}
ALIGNMENTS = tuple(METHODS)[1:]
#: Largest ratio of CPU times of the job without a method and of a plain loop on the source.
LOOP_BAR = 1.1
#: Sensors: arguments of a run -> title of a figure -> its place in the metrics.
SENSORS = {
    "coral --baseline": {
        "majority-class baseline": "data largest_class",
        "pairs, no alignment": "no_alignment target_accuracy",
        "pairs, DeepCORAL": "final target_accuracy",
        "labels on the target's side": "target_labels target_accuracy",
    },
    **{f"{method}": {f"pairs, {METHODS[method]}": "final target_accuracy"} for method in ALIGNMENTS[1:]},
    **{f"{method} --pair-weight 0": {f"no pairs, {METHODS[method]}": "final target_accuracy"} for method in ALIGNMENTS},
}
#: Added to a seed for the data, so that data and training use different ones.
DATA = 100


@dataclass(frozen=True)
class Task:
    """One measurement: each run's words after ``--method`` and the figures taken from it, how its data are made, which
    row gains are over, and which must be above it (1) or below (-1), by two standard errors."""

    title: str
    make: tuple[str, ...]
    arguments: tuple[str, ...]
    runs: dict[str, dict[str, str]]
    reference: str
    expected: dict[str, int]


TASKS = {
    "images": Task(
        "amazon -> webcam, synthetic images",
        ("synthesize.py",),
        (),
        {method: {title: "final target_accuracy"} for method, title in METHODS.items()},
        "source only",
        dict.fromkeys(("DeepCORAL", "DAN", "DANN", "CDAN", "MCC"), 1),
    ),
    "sensors": Task(
        "lidar -> radiometer, synthetic columns",
        ("make_columns.py",),
        ("--task", "sensors", "--lr", "0.03"),
        SENSORS,
        "pairs, no alignment",
        {"majority-class baseline": -1} | {f"no pairs, {METHODS[method]}": -1 for method in ALIGNMENTS},
    ),
}


@functools.cache
def python() -> str:
    """An interpreter that has torch."""
    for candidate in (sys.executable, str(ROOT / ".venv-training" / "bin" / "python")):
        if subprocess.run([candidate, "-c", "import torch, PIL, matplotlib"], capture_output=True).returncode == 0:
            return candidate
    sys.exit("scripts/bench adaptation: no torch here: scripts/training-env makes .venv-training, which has it")


def quietly(arguments: list[str]) -> None:
    """Run one of the job's scripts, on one thread."""
    done = subprocess.run(
        [python(), *arguments], cwd=JOB, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"scripts/bench adaptation: {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")


def figures_of(task: Task, run: str, seed: int, epochs: int, folder: Path) -> dict[str, float]:
    """Return the target accuracies of one run after its last epoch, by title."""
    out = folder / f"{run.replace(' ', '')}-{seed}"
    arguments = [
        "--data",
        str(folder / f"data-{seed}"),
        "--out",
        str(out),
        "--method",
        *run.split(),
        "--seed",
        str(seed),
    ]
    quietly(["train.py", *arguments, *task.arguments, "--epochs", str(epochs), "--threads", "1", "--device", "cpu"])
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    figures = {}
    for title, place in task.runs[run].items():
        part, name = place.split()
        figures[title] = float(metrics[part][name])
        print(f"  seed {seed}  {title:<12} {figures[title]:.3f}", file=sys.stderr, flush=True)
    return figures


def accuracies(task: Task, seeds: int, epochs: int, jobs: int) -> dict[str, list[float]]:
    """Each row's accuracy, seed by seed."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        commands = [[*task.make, "--seed", str(DATA + seed), "--out", f"{name}/data-{seed}"] for seed in range(seeds)]
        list(pool.map(quietly, commands))
        pairs = [(run, seed) for seed in range(seeds) for run in task.runs]
        figures = list(pool.map(lambda pair: figures_of(task, *pair, epochs, Path(name)), pairs))
    by_seed = [
        {
            title: value
            for (_, run_seed), row in zip(pairs, figures, strict=True)
            if run_seed == seed
            for title, value in row.items()
        }
        for seed in range(seeds)
    ]
    return {title: [row[title] for row in by_seed] for title in by_seed[0]}


def table(task: Task, accuracies_by_title: dict[str, list[float]], *, markdown: bool) -> bool:
    """Print means, spreads and gains; whether what must stand out does."""
    reference = accuracies_by_title[task.reference]
    count = len(reference)
    heads = ["method", "mean", "sd", "gain", "sd of gain", "seeds better", *(f"seed {seed}" for seed in range(count))]
    rows, good = [], True
    for title, values in accuracies_by_title.items():
        gains = [value - alone for value, alone in zip(values, reference, strict=True)]
        row = [title, f"{statistics.mean(values):.3f}", f"{statistics.stdev(values):.3f}"]
        if title == task.reference:
            row += ["", "", ""]
        else:
            mean, spread = statistics.mean(gains), statistics.stdev(gains)
            row += [f"{mean:+.3f}", f"{spread:.3f}", f"{sum(gain > 0 for gain in gains)} of {count}"]
            if sign := task.expected.get(title, 0):
                good = good and sign * mean > 2 * spread / math.sqrt(count)
        rows.append([*row, *(f"{value:.3f}" for value in values)])
    show([heads, *rows], markdown=markdown)
    return good


def show(rows: list[list[str]], *, markdown: bool) -> None:
    """Print rows in columns, or as a Markdown table."""
    if markdown:
        for number, row in enumerate(rows):
            print("| " + " | ".join(row) + " |")
            if number == 0:
                print("|" + "---|" * len(row))
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def throughput(rounds: int) -> bool:
    """Print seconds per step of the job without a method and of a plain loop; return True if the bar is met."""
    with tempfile.TemporaryDirectory() as name:
        quietly(["synthesize.py", "--seed", str(DATA), "--out", name])
        return subprocess.run([python(), __file__, "--loop", name, "--rounds", str(rounds)]).returncode == 0


def loops(data: Path, rounds: int) -> bool:
    """Both loops in turns; runs in an interpreter that has torch."""
    sys.path.insert(0, str(JOB))
    import torch
    from adaptation import dataset, distributed
    from adaptation.networks import models
    from adaptation.options import Options
    from adaptation.trainer import Trainer
    from torch.nn import functional

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    batch, steps = (512, 200) if device.type == "cuda" else (64, 40)
    pair, kind = dataset.list_images(data, "amazon", "webcam")
    images = dataset.read_dataset(pair, kind, dataset.ImageSettings(32), (device, 0))
    options = Options(data=data, out=data, method="none", global_batch=batch)
    session = Trainer(options, images, distributed.Communicator(), print)
    net = models.build_image_model("small", len(images.classes), seed=0).to(device)
    rate = torch.optim.SGD(
        [*net["features"].parameters(), *net["classifier"].parameters()], lr=0.01, momentum=0.9, weight_decay=5e-4
    )
    order = torch.Generator().manual_seed(0)

    def plain(_step: int) -> None:
        chosen = images.training_indices[
            torch.randint(len(images.training_indices), (batch,), generator=order).to(device)
        ]
        source = models.normalize(images.source_rows[chosen])
        rate.zero_grad(set_to_none=True)
        logits = net["classifier"](net["features"](source))
        functional.cross_entropy(logits, images.source_labels[chosen]).backward()
        rate.step()

    # CPU time is that of the work, whatever else runs on the computer; a GPU works while the CPU waits.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    titles = {"this job": session.step, "plain loop": plain}
    times_s: dict[str, list[float]] = {title: [] for title in titles}
    # Step by step in turns: other load on the computer slows both down alike. The first steps fill caches.
    for number in range(-5, steps * rounds):
        for title, step in titles.items():
            began = clock()
            step(max(0, number))
            if device.type == "cuda":
                torch.cuda.synchronize()
            times_s[title] += [clock() - began] if number >= 0 else []
    clock_name = "time" if device.type == "cuda" else "CPU time"
    print(f"{clock_name} per step, {device.type}, batch of {batch}, {steps * rounds} steps each, median (quartiles)")
    medians = {}
    for title, values in times_s.items():
        low, medians[title], high = (1e3 * value for value in statistics.quantiles(values))
        print(f"  {title:<11} {medians[title]:7.2f} ms  ({low:.2f} to {high:.2f})")
    ratio = medians["this job"] / medians["plain loop"]
    print(f"  ratio       {ratio:7.2f}  (at most {LOOP_BAR})")
    return ratio <= LOOP_BAR


def main() -> int:
    """Measure; 1 if adaptation is not better than none, or the loop is too slow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", choices=tuple(TASKS), default="images")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this less one, at least 5")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at once, one thread each")
    parser.add_argument("--rounds", type=int, default=7, help="the throughput's steps, in 40s (GPU: 200s)")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--only", choices=("accuracy", "throughput"))
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        return 0 if loops(options.loop, options.rounds) else 1
    good = True
    if options.only != "throughput":
        task, count = TASKS[options.task], max(5, options.seeds)
        print(f"target accuracy after epoch {options.epochs}, {task.title}, seeds 0 to {count - 1}")
        good = table(task, accuracies(task, count, options.epochs, options.jobs), markdown=options.markdown)
    if options.only != "accuracy" and options.task == "images":
        good = throughput(options.rounds) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
