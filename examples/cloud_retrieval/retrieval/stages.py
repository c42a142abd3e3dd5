"""What the stages of both jobs share: a clock, progress, what is known of a model on the workers, errors collected."""

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

# Enough groups to keep tens of cores busy, few enough to keep Dask's overhead (about 1 ms a task) out of sight.
TREES_PER_TASK = 4


@dataclass
class StageTimer:
    """Seconds per stage, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True)
class TrainedModel:
    """A model, still on the workers, and what is known of it here."""

    future: Any
    digest: str
    nodes: int


def data_kind(synthetic: Iterable[bool]) -> str:
    """``synthetic``, ``real`` (not marked synthetic) or ``mixed``, of data that are synthetic or not."""
    found = set(synthetic)
    return "mixed" if len(found) > 1 else "synthetic" if True in found else "real"


def make_folders(*folders: Path) -> None:
    """Make folders for results.

    :raises SceneError: when one cannot be.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SceneError(f"{folder}: cannot be made a folder ({error.strerror})") from error


def group_seeds(seeds: Sequence[int]) -> list[Sequence[int]]:
    """Seeds, a few to each task."""
    return [seeds[first : first + TREES_PER_TASK] for first in range(0, len(seeds), TREES_PER_TASK)]


def log_tree_progress(groups: Sequence[Any], total: int, say: Log) -> None:
    """Tell how many of ``total`` trees are grown, ten times in all."""
    told = 0
    for count, future in enumerate(as_completed(groups), 1):
        future.result()
        done = total * count // len(groups)
        if (done - told) * 10 >= total or count == len(groups):
            say(f"trees {done}/{total}")
            told = done


def gather_results(futures: Sequence[Any]) -> list[Any]:
    """Results of all futures.

    :raises SceneError: with one line per file that cannot be used.
    """
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    for error in errors:
        if not isinstance(error, SceneError):
            raise error
    if errors:
        raise SceneError("\n".join(dict.fromkeys(str(error) for error in errors)))
    return [future.result() for future in futures]


def format_count(count: int, what: str) -> str:
    """``1 scene``, ``2 scenes``."""
    return f"{count} {what}{'s' if count != 1 else ''}"
