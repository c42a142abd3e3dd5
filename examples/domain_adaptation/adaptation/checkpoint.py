"""How far a run has come, as one immutable value; checkpoints of it.

An elastic run goes back to the last committed value after a loss, so nothing in it may change in place.
"""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adaptation.image_folders import DataError

#: Options that a checkpoint must share with the run that goes on from it.
FIXED_OPTIONS = (
    *("task", "source", "target", "method", "net", "image_size", "global_batch", "accumulate", "seed"),
    *("lr", "lr_scaling", "ramp", "transfer_scope", "amp", "pair_weight"),
)


@dataclass(frozen=True)
class RunningTotals:
    """Sums since the last epoch began: losses over iterations, the iterations, seconds spent training."""

    classes: float = 0.0
    transfer: float = 0.0
    pairs: float = 0.0
    iterations: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainingState:
    """A point between two iterations.

    :param history: figures of each epoch.
    :param best: the epoch with the highest source validation accuracy so far and its weights.
    :param scaler: state of the loss scaling of mixed precision.
    """

    iteration: int = 0
    totals: RunningTotals = RunningTotals()
    history: tuple[dict[str, Any], ...] = ()
    best: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None


def serialize(progress: TrainingState, net: Any, optimizer: Any, fixed: dict[str, Any]) -> bytes:
    """Everything a run needs to go on, as bytes."""
    parts = {name: getattr(progress, name) for name in ("iteration", "best", "scaler")}
    content = {
        "fixed": fixed,
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": parts | {"history": list(progress.history), "totals": asdict(progress.totals)},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def restore(content: bytes, net: Any, optimizer: Any) -> tuple[TrainingState, dict[str, Any]]:
    """Put the weights back; the progress and the options they belong to."""
    held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    net.load_state_dict(held["net"])
    optimizer.load_state_dict(held["optimizer"])
    parts = held["progress"]
    progress = TrainingState(**parts | {"history": tuple(parts["history"]), "totals": RunningTotals(**parts["totals"])})
    return progress, dict(held["fixed"])


def read_checkpoint(path: Path, fixed: dict[str, Any]) -> bytes:
    """A checkpoint's bytes.

    :raises DataError: it cannot be read, or belongs to a run of other options.
    """
    try:
        content = path.read_bytes()
        theirs = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["fixed"]
    except Exception as error:  # torch raises many kinds for a broken file
        raise DataError(f"{path}: no checkpoint of this program ({type(error).__name__}): delete it") from error
    if other := [name for name in fixed if theirs.get(name) != fixed[name]]:
        name = other[0]
        raise DataError(
            f"{path}: made with {name} {theirs.get(name)}, asked for {fixed[name]}: use that, or another --out"
        )
    return content


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
