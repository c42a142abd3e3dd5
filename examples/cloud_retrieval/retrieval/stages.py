"""Helpers shared by the pipelines of both jobs: stage timings, progress, trained models, errors of many tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import as_completed

from retrieval.scenes import SceneError

Log = Callable[[str], None]

# Small enough to keep tens of cores busy, large enough to make Dask's overhead (about 1 ms per task) negligible.
TREES_PER_TASK = 4


@dataclass
class StageTimer:
    """Seconds per stage, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True)
class TrainedModel:
    """A model that stays on the workers, with its hash and its size."""

    future: Any
    digest: str
    nodes: int


def data_kind(synthetic: Iterable[bool]) -> str:
    """Return ``synthetic``, ``real`` (not marked as synthetic) or ``mixed`` for some inputs."""
    kinds = set(synthetic)
    return "mixed" if len(kinds) > 1 else "synthetic" if True in kinds else "real"


def make_folders(*folders: Path) -> None:
    """Create folders for results.

    :raises SceneError: if one cannot be created.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SceneError(f"{folder}: cannot create this folder ({error.strerror})") from error


def group_seeds(seeds: Sequence[int]) -> list[Sequence[int]]:
    """Divide seeds into groups, one per task."""
    return [seeds[first : first + TREES_PER_TASK] for first in range(0, len(seeds), TREES_PER_TASK)]


def log_progress(groups: Sequence[Any], total: int, subject: str, log: Log) -> None:
    """Log how many of ``total`` trees or models are trained, at most ten times."""
    logged = 0
    for count, future in enumerate(as_completed(groups), 1):
        future.result()
        done = total * count // len(groups)
        if (done - logged) * 10 >= total or count == len(groups):
            log(f"{subject} {done}/{total}")
            logged = done


def gather_results(futures: Sequence[Any]) -> list[Any]:
    """Return the results of all futures.

    :raises SceneError: with one line per unusable file.
    """
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    for error in errors:
        if not isinstance(error, SceneError):
            raise error
    if errors:
        # A bad file can fail in several tasks; each line appears once.
        raise SceneError("\n".join(dict.fromkeys(line for error in errors for line in str(error).splitlines())))
    return [future.result() for future in futures]


def format_count(count: int, noun: str) -> str:
    """Return ``1 scene``, ``2 scenes``."""
    return f"{count} {noun}{'s' if count != 1 else ''}"
