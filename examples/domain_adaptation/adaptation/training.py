"""A whole training: initial weights or a checkpoint from rank 0, plain or elastic training, the result."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptation import checkpoint as points
from adaptation.image_folders import DataError
from adaptation.trainer import Trainer, weights_digest

if TYPE_CHECKING:
    from adaptation.checkpoint import TrainingState
    from adaptation.dataset import Dataset
    from adaptation.distributed import Communicator
    from adaptation.options import Options


#: Runs for comparison, by task: key in metrics.json, and title.
COMPARISONS = {
    "images": {"source_only": "source only"},
    "sensors": {"no_alignment": "no alignment", "target_labels": "labels on the target's side"},
}


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    :param ranks_agree: True if all ranks hold the same bits.
    """

    options: Options
    history: tuple[dict[str, Any], ...]
    best: dict[str, Any]
    sha256: str
    ranks_agree: bool


def train(options: Options, dataset: Dataset, comm: Communicator, log: Callable[[str], None]) -> TrainingResult:
    """Train one network; returns the same result on every rank.

    :raises DataError: if the checkpoint belongs to another run, or the batch is too small for the number of ranks.
    """
    min_rows = 2 if options.transfer_scope == "local" else 1
    if options.global_batch // options.accumulate < min_rows * comm.size:
        raise DataError(
            f"--global-batch {options.global_batch} is too small for {comm.size} ranks x {options.accumulate} part(s)"
        )
    trainer = Trainer(options, dataset, comm, log)
    start = initial_state(trainer)
    writer = CheckpointWriter(trainer, options.out / "checkpoint.pt")
    if is_elastic(options):
        end = run_elastic(trainer, start, writer)
    else:
        end = trainer.run(start, writer.save, options.checkpoint_every)
    sha256 = weights_digest(trainer.net.state_dict())
    if end.best is None:
        raise DataError(f"{writer.path}: ends before the first evaluation; delete it")
    return TrainingResult(options, end.history, end.best, sha256, comm.all_agree(sha256))


def is_elastic(options: Options) -> bool:
    """Return True if ranks may come and go: requested, or launched so."""
    return options.elastic or (options.dist in ("auto", "horovod") and os.environ.get("HOROVOD_ELASTIC") == "1")


def initial_state(trainer: Trainer) -> TrainingState:
    """Load rank 0's initial weights, or those of its checkpoint, on every rank."""
    options, comm = trainer.options, trainer.comm
    path = options.out / "checkpoint.pt"
    if is_elastic(options):
        # Ranks may join at any time, so there is no collective operation here: Horovod synchronizes the state later.
        if not (options.resume and path.is_file()):
            return points.TrainingState()
        return points.restore(points.read_checkpoint(path, trainer.fixed_options), trainer.net, trainer.optimizer)[0]
    content, problem = b"", ""
    if comm.rank == 0:
        try:
            resumed = options.resume and path.is_file()
            content = points.read_checkpoint(path, trainer.fixed_options) if resumed else initial_checkpoint(trainer)
        except DataError as error:
            problem = str(error)
    # Only rank 0 reads the file. If that fails, the others must get the error instead of waiting for weights.
    if problem := comm.broadcast_bytes(problem.encode()).decode():
        raise DataError(problem)
    return points.restore(comm.broadcast_bytes(content), trainer.net, trainer.optimizer)[0]


def initial_checkpoint(trainer: Trainer) -> bytes:
    """Return the start of a run as a checkpoint."""
    return points.serialize(points.TrainingState(), trainer.net, trainer.optimizer, trainer.fixed_options)


@dataclass
class CheckpointWriter:
    """Writer of checkpoints, on rank 0 only."""

    trainer: Trainer
    path: Path

    def save(self, state: TrainingState, _done: bool) -> None:
        """Write one checkpoint."""
        if self.trainer.comm.rank == 0:
            content = points.serialize(state, self.trainer.net, self.trainer.optimizer, self.trainer.fixed_options)
            points.write_atomically(self.path, content)


def run_elastic(trainer: Trainer, start: TrainingState, writer: CheckpointWriter) -> TrainingState:
    """Train while ranks come and go: after a loss the others return to the last commit and continue without it."""
    import horovod.torch as hvd

    options = trainer.options

    def save(training_state: TrainingState, done: bool) -> None:
        every = options.checkpoint_every
        if done or (every and training_state.iteration % every == 0):
            writer.save(training_state, done)
        state.progress = training_state
        state.commit()

    def run_from(committed: Any) -> TrainingState:
        trainer.restart(committed.progress)
        return trainer.run(committed.progress, save, options.commit_every)

    state = hvd.elastic.TorchState(model=trainer.net, optimizer=trainer.optimizer, progress=start)
    end: TrainingState = hvd.elastic.run(run_from)(state)
    return end


def baseline_options(options: Options) -> Options:
    """Return the options of the same run without alignment, in a folder of its own."""
    return replace(options, method="none", transfer_weight=-1.0, out=options.out / "baseline", baseline=False)


def train_comparisons(
    options: Options, dataset: Dataset, comm: Communicator, log: Callable[[str], None]
) -> dict[str, TrainingResult]:
    """Train the runs requested by ``--baseline``, by name: see :data:`COMPARISONS`."""
    plain = baseline_options(options)
    runs = {"no_alignment" if options.task == "sensors" else "source_only": (plain, dataset)}
    if options.method == "none":
        runs.clear()
    if dataset.target_supervised is not None:
        runs["target_labels"] = replace(plain, out=options.out / "direct"), dataset.target_supervised
    results = {}
    for name, (run_options, run_dataset) in runs.items() if options.baseline else ():
        if comm.rank == 0:
            log(f"training for comparison: {COMPARISONS[options.task][name]}")
        results[name] = train(run_options, run_dataset, comm, log)
    return results
