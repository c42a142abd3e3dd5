"""The state of a training, as one immutable value, and checkpoints of it.

An elastic run returns to the last committed value after a loss of ranks, so it must never be modified in place.
"""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adaptation.image_folders import DataError

#: Options that a checkpoint must share with the run that resumes it.
FIXED_OPTIONS = (
    *("task", "source", "target", "method", "net", "image_size", "global_batch", "accumulate", "seed"),
    *("lr", "lr_scaling", "ramp", "transfer_scope", "amp", "pair_weight"),
)
#: The same, of later versions: a checkpoint without one was made with its default.
ADDED_OPTIONS = ("validation", "keep_aspect", "augment", "backbone_rate")


@dataclass(frozen=True)
class RunningTotals:
    """Sums since the start of the epoch: losses over iterations, the iterations, seconds of training."""

    classes: float = 0.0
    transfer: float = 0.0
    pairs: float = 0.0
    iterations: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainingState:
    """The state between two iterations.

    :param history: metrics of each epoch.
    :param best: metrics and weights of the epoch with the highest source validation accuracy so far.
    :param scaler: state of the loss scaling of mixed precision.
    """

    iteration: int = 0
    totals: RunningTotals = RunningTotals()
    history: tuple[dict[str, Any], ...] = ()
    best: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None


def serialize(state: TrainingState, net: Any, optimizer: Any, fixed: dict[str, Any]) -> bytes:
    """Return everything needed to resume a run, as bytes."""
    parts = {name: getattr(state, name) for name in ("iteration", "best", "scaler")}
    content = {
        "fixed": fixed,
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": parts | {"history": list(state.history), "totals": asdict(state.totals)},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def restore(content: bytes, net: Any, optimizer: Any) -> tuple[TrainingState, dict[str, Any]]:
    """Load the weights of a checkpoint; return its state and the options it belongs to."""
    content_parts = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    net.load_state_dict(content_parts["net"])
    optimizer.load_state_dict(content_parts["optimizer"])
    parts = content_parts["progress"]
    state = TrainingState(**parts | {"history": tuple(parts["history"]), "totals": RunningTotals(**parts["totals"])})
    return state, dict(content_parts["fixed"])


def read_checkpoint(path: Path, fixed: dict[str, Any]) -> bytes:
    """Return the bytes of a checkpoint.

    :raises DataError: if it cannot be read, or belongs to a run with other options.
    """
    try:
        content = path.read_bytes()
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["fixed"]
    except Exception as error:  # torch raises many kinds for a broken file
        raise DataError(f"{path}: not a checkpoint of this program ({type(error).__name__}); delete it") from error
    if differing := [name for name in {**fixed, **saved} if saved.get(name) != fixed.get(name)]:
        before, now = (options.get(differing[0], "its default") for options in (saved, fixed))
        raise DataError(f"{path}: made with {differing[0]} {before}, not {now}; use that value, or another --out")
    return content


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that it is never incomplete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        # Without it, a power failure after the rename could leave an empty file.
        os.fsync(file.fileno())
    part.replace(path)
