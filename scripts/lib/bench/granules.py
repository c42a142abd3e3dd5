"""The granules job, measured: collocation against a search by coarse grid, the whole job on one worker and on two.

    scripts/bench granules [--only collocation|job] [--granules 8] [--lines 3232] [--pixels 3200] [--data DIR]
    [--least RATIO]

Collocation: a full-size granule (3232 x 3200) against a track of 4000 profiles, at two offsets, by three methods on
the same geometry in the same run, CPU seconds, the best of three: the job's pruned tree; a tree over all pixels, the
reference that tells how many profiles are missed or get another pixel; and the loop of the tool that the job
replaces, written anew from a description of its method (see :func:`coarse_grid_loop`), not copied from it. Exits 1
when the job's method misses or mis-assigns a profile or is less than 4 times as fast as the loop.

Job: granules made once (--data keeps them), then the job's own command line on this machine alone, on one worker, on
two, and on two of which one is killed once trees grow; workers are processes of one thread. Exits 1 when hashes
differ, a worker's memory peaks above 1.5 GB, a score lies outside its stated band, or the speed-up is below --least
by both measures. The load of the machine is printed: where others take the cores, the clock says nothing about two
workers; the CPU time of the busiest worker then tells how the work was shared, which is the speed-up on cores of
their own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
JOB = ROOT / "examples" / "cloud_retrieval"
sys.path.insert(0, str(JOB))

import numpy as np  # noqa: E402
from granules import (  # noqa: E402
    collocation,
    file_names,
    geodesy,
)
from granules.collocation import (  # noqa: E402
    Swath,
    Track,
)
from simulation import orbit  # noqa: E402

KM, MINUTES = 5.0, 15.0
LEAST_FASTER = 4.0
MOST_BYTES = 1.5e9
DEADLINE = 60.0
Found = tuple[Any, Any]  # profiles, flat pixels


def load() -> str:
    """The machine's load over the last minute and its cores."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


# ---------------------------------------------------------------- collocation


def geometry(degrees_east: float) -> tuple[Swath, Track]:
    """A full-size swath and a track of 4000 profiles, so many degrees apart at the node."""
    scans = 202
    flight = orbit.swath_pass(datetime(2013, 1, 2, 15, 45), 35.0)
    parts = [
        geodesy.lat_lon(orbit.scan_geometry(flight, np.arange(first, min(first + 4, scans)), scans, slice(None)).ground)
        for first in range(0, scans, 4)
    ]
    latitude, longitude = (np.concatenate([part[side] for part in parts]).astype(np.float32) for side in (0, 1))
    times = np.repeat(flight.middle_s + (np.arange(scans) - (scans - 1) / 2.0) * orbit.SCAN_SECONDS, 16)
    track = orbit.track_pass(flight, degrees_east=degrees_east, minutes_late=4.0)
    seconds = track.middle_s + (np.arange(4000) - 2000) / (geodesy.EARTH_KM * track.orbit.rate_rad_s)
    points, _ = track.state(seconds)
    return Swath(latitude, longitude, times), Track(*geodesy.lat_lon(points), seconds)


def coarse_grid_loop(swath: Swath, track: Track) -> Found:
    """Reference: the replaced tool's method, written from its description.

    Thin the swath to a point every third of 200 km; for each profile that looked within the interval of the granule's
    middle, one by one, take the nearest of these points, and search the pixels of its cell (and five more to either
    side) by great-circle distance; nearest below the limit wins. One time for the whole granule.
    """
    lines, pixels = swath.latitude.shape
    step = int(200.0 / 0.75 / 3.0)
    rows = np.flatnonzero(np.abs(track.time - swath.time.mean()) < 60.0 * MINUTES)
    thin = (swath.latitude[::step, ::step], swath.longitude[::step, ::step])
    far = haversine(thin[0][..., None], thin[1][..., None], track.latitude[rows], track.longitude[rows])
    profiles, pixel_indices = [], []
    for turn, profile in enumerate(rows):
        here = far[..., turn]
        if here.min() >= 200.0:
            continue
        middle = [int(part) * step for part in np.unravel_index(here.argmin(), here.shape)]
        first, left = (max(int(part - step / 2 - 5), 0) for part in middle)
        last, right = (min(int(part + step / 2 + 5), size) for part, size in zip(middle, (lines, pixels), strict=True))
        window = (slice(first, last), slice(left, right))
        km = haversine(
            swath.latitude[window], swath.longitude[window], track.latitude[profile], track.longitude[profile]
        )
        if km.min() >= KM:
            continue
        line, pixel = np.unravel_index(km.argmin(), km.shape)
        profiles.append(profile)
        pixel_indices.append((line + first) * pixels + pixel + left)
    return np.array(profiles), np.array(pixel_indices)


def haversine(latitude: Any, longitude: Any, other_latitude: Any, other_longitude: Any) -> Any:
    """Great-circle distance (km)."""
    latitude_1, latitude_2 = np.radians(latitude), np.radians(other_latitude)
    south, west = (latitude_2 - latitude_1) / 2.0, np.radians(other_longitude - longitude) / 2.0
    part = np.sin(south) ** 2 + np.cos(latitude_1) * np.cos(latitude_2) * np.sin(west) ** 2
    return 2.0 * geodesy.EARTH_KM * np.arcsin(np.sqrt(part))


def whole_tree(swath: Swath, track: Track) -> Found:
    """Reference: a tree over all pixels, the time of each line."""
    from scipy.spatial import cKDTree

    tree = cKDTree(geodesy.unit_vectors(swath.latitude.ravel(), swath.longitude.ravel()), balanced_tree=False)
    bound = np.nextafter(geodesy.chord_length(KM), np.inf)
    chords, nearest = tree.query(geodesy.unit_vectors(track.latitude, track.longitude), distance_upper_bound=bound)
    hit = np.flatnonzero(np.isfinite(chords))
    late = np.abs(track.time[hit] - swath.time[nearest[hit] // swath.latitude.shape[1]])
    return hit[late <= 60.0 * MINUTES], nearest[hit][late <= 60.0 * MINUTES]


def pruned_tree(swath: Swath, track: Track) -> Found:
    """The job's method."""
    matches = collocation.collocate(swath, track, km=KM, minutes=MINUTES)
    return matches.profile, matches.line.astype(np.int64) * swath.latitude.shape[1] + matches.pixel


def timed(method: Callable[[Swath, Track], Found], swath: Swath, track: Track, rounds: int) -> tuple[float, Found]:
    """CPU seconds of the quickest round, and what was found."""
    best, pairs = np.inf, None
    for _ in range(rounds):
        start = time.process_time()
        pairs = method(swath, track)
        best = min(best, time.process_time() - start)
    assert pairs is not None
    return best, pairs


def compare_methods(rounds: int) -> bool:
    """Print the comparison at two offsets; whether all bars are passed."""
    print(f"collocation, 3232 x 3200 pixels, 4000 profiles, within {KM:g} km and {MINUTES:g} min; {load()}")
    passed = True
    for east in (3.0, 9.0):
        swath, track = geometry(east)
        seconds, truth = timed(whole_tree, swath, track, 1)
        print(f"  track {east:g} degrees east     CPU s   matched   missed   other pixel")
        print(f"    tree over all pixels  {seconds:7.2f}   {len(truth[0]):7,}        -             -")
        results = {}
        for name, method in (("coarse grid and loop", coarse_grid_loop), ("pruned tree (job)", pruned_tree)):
            seconds, pairs = timed(method, swath, track, rounds)
            missed, other = compared(pairs, truth)
            results[name] = (seconds, missed, other)
            print(f"    {name:<20}  {seconds:7.2f}   {len(pairs[0]):7,}  {missed:7}  {other:12}")
        (slow, *_), (fast, missed, other) = results.values()
        print(f"    ratio {slow / fast:.1f} (at least {LEAST_FASTER:g})")
        passed &= slow / fast >= LEAST_FASTER and missed == other == 0
    return passed


def compared(pairs: Found, truth: Found) -> tuple[int, int]:
    """Profiles that were missed, and those that got another pixel than the nearest."""
    pixels = dict(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))
    pairs = list(zip(truth[0].tolist(), truth[1].tolist(), strict=True))
    missed = sum(profile not in pixels for profile, _ in pairs)
    return missed, sum(pixels.get(profile, pixel) != pixel for profile, pixel in pairs)


# ---------------------------------------------------------------- the whole job


class Workers:
    """A scheduler and worker processes of one thread each."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.contact = folder / "scheduler.json"
        arguments = ["--host", "127.0.0.1", "--port", "0"]
        self.scheduler = self.start("scheduler", *arguments)
        while not self.contact.exists():
            time.sleep(0.1)
        self.workers = [self.start("worker", "--nworkers", "1", "--nthreads", "1", "--no-nanny") for _ in range(count)]
        self.address = json.loads(self.contact.read_text())["address"]
        from distributed import Client

        with Client(self.address) as client:
            client.wait_for_workers(count, timeout=DEADLINE)

    def start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        """One process of Dask."""
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard"]
        command += ["--scheduler-file", str(self.contact), *arguments]
        with (self.folder / f"{kind}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def peaks(self) -> list[int]:
        """Most bytes that each worker that still runs ever held."""
        texts = [Path(f"/proc/{worker.pid}/status").read_text() for worker in self.workers if worker.poll() is None]
        return [int(line.split()[1]) * 1024 for text in texts for line in text.splitlines() if line.startswith("VmHWM")]

    def busiest(self) -> float:
        """CPU seconds of the worker that worked most."""
        texts = [Path(f"/proc/{worker.pid}/stat").read_text() for worker in self.workers if worker.poll() is None]
        ticks = [sum(int(part) for part in text.rpartition(")")[2].split()[11:13]) for text in texts]
        return max(ticks) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait(DEADLINE)


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """So many workers, ended afterwards."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        started = Workers(Path(folder), count)
        stack.callback(started.end)
        yield started


def run(arguments: list[str], out: Path, *, doomed: subprocess.Popen[bytes] | None = None) -> dict[str, Any]:
    """Run the job's command line and return its metrics; ``doomed`` is killed once trees grow."""
    command = [sys.executable, str(JOB / "granule_job.py"), *arguments, "--out", str(out)]
    with subprocess.Popen(command, cwd=JOB, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if doomed and line.startswith("trees") and doomed.poll() is None:
                doomed.send_signal(signal.SIGKILL)
    if process.returncode:
        raise SystemExit(f"the job ended with code {process.returncode}")
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def job(arguments: argparse.Namespace, folder: Path) -> bool:
    """Print seconds, memory and scores of the whole job; whether all bars are passed."""
    data = arguments.data or folder / "data"
    make_data(arguments, data)
    arguments = ["--data", str(data)]
    size = f"{arguments.granules} synthetic granules of {arguments.lines} x {arguments.pixels}"
    print(f"\nthe whole job, {size}; workers of one thread; {load()}", flush=True)
    runs: dict[str, dict[str, Any]] = {}
    peaks: list[int] = []
    for name, count in (("1 worker", 1), ("2 workers", 2), ("2, one killed", 2)):
        with workers(count) as crew:
            doomed = crew.workers[1] if "killed" in name else None
            runs[name] = run([*arguments, "--scheduler", crew.address], folder / name, doomed=doomed)
            peaks += crew.peaks()
            runs[name]["busiest"] = crew.busiest()
        show(name, runs[name], max(peaks))
    runs["this machine"] = run(arguments, folder / "alone")
    show("this machine", runs["this machine"], 0)
    return judged(arguments, runs, max(peaks))


def make_data(arguments: argparse.Namespace, data: Path) -> None:
    """Make the granules, unless they are there."""
    if data.is_dir() and len(file_names.find_pairs(str(data), minutes=MINUTES)) == arguments.granules:
        return
    start = time.process_time()
    sizes = ["--lines", str(arguments.lines), "--pixels", str(arguments.pixels), "--granules", str(arguments.granules)]
    command = [sys.executable, str(JOB / "make_granules.py"), "--out", str(data), *sizes]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"made in {time.process_time() - start:.0f} CPU s")


def show(name: str, metrics: dict[str, Any], peak: int) -> None:
    """One line on a run."""
    seconds = metrics["run"]["seconds"]
    parts = "  ".join(f"{stage} {seconds[stage]:.1f}" for stage in ("collocate", "train", "judge", "map"))
    memory = f"  peak {peak / 1e9:.2f} GB, {metrics['busiest']:.0f} CPU s a worker at most" if peak else ""
    print(f"  {name:<14} {total(metrics):7.1f} s   {parts}{memory}   {load()}", flush=True)


def total(metrics: dict[str, Any]) -> float:
    """Seconds of all that workers do."""
    return sum(metrics["run"]["seconds"][stage] for stage in ("collocate", "train", "judge", "map"))


def judged(arguments: argparse.Namespace, runs: dict[str, dict[str, Any]], peak: int) -> bool:
    """Print what is compared with its bar; whether all hold."""
    hashes = {(metrics["model"]["sha256"], metrics["predictions"]["sha256"]) for metrics in runs.values()}
    ratio = total(runs["1 worker"]) / total(runs["2 workers"])
    same = "identical in all runs" if len(hashes) == 1 else "DIFFER"
    shared = runs["1 worker"]["busiest"] / runs["2 workers"]["busiest"]
    print(f"  1 worker to 2: {ratio:.2f} by the clock, {shared:.2f} by CPU time of the busiest   hashes {same}")
    single = runs["1 worker"]
    print(f"  {single['headline']}")
    bands = single["data"]["synthetic_band"]
    inside = all(low <= single["scores"][part]["accuracy"] <= high for part, (low, high) in bands.items())
    print(f"  stated band: {', '.join(f'{part} {low} to {high}' for part, (low, high) in bands.items())}")
    return len(hashes) == 1 and inside and peak <= MOST_BYTES and max(ratio, shared) >= arguments.least


def main() -> int:
    """Measure; 1 when something is below its bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=("collocation", "job"))
    parser.add_argument("--granules", type=int, default=8)
    parser.add_argument("--lines", type=int, default=3232)
    parser.add_argument("--pixels", type=int, default=3200)
    parser.add_argument("--rounds", type=int, default=3, help="times that collocation is run")
    parser.add_argument("--data", type=Path, help="folder of granules; made there if need be")
    parser.add_argument("--least", type=float, default=0.0, help="speed-up below which to exit 1")
    arguments = parser.parse_args()
    passed = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only != "job":
            passed.append(compare_methods(arguments.rounds))
        if arguments.only != "collocation":
            passed.append(job(arguments, Path(folder)))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
