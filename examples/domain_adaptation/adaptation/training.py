"""A whole training: from the weights that rank 0 says, with checkpoints, plain or elastic, to the figures."""

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


#: What a task's runs are compared with: name in metrics.json, and in words.
COMPARISONS = {
    "images": {"source_only": "source only"},
    "sensors": {"no_alignment": "no alignment", "target_labels": "labels on the target's side"},
}


@dataclass(frozen=True)
class TrainingResult:
    """What a training ended with.

    :param agree: whether all ranks hold the same bits.
    """

    options: Options
    history: tuple[dict[str, Any], ...]
    best: dict[str, Any]
    sha256: str
    ranks_agree: bool


def train(options: Options, material: Dataset, comm: Communicator, say: Callable[[str], None]) -> TrainingResult:
    """Train one network; every rank returns the same.

    :raises DataError: the checkpoint to go on from is of another run, or the batch is too small for so many ranks.
    """
    least = 2 if options.transfer_scope == "local" else 1
    if options.global_batch // options.accumulate < least * comm.size:
        raise DataError(
            f"--global-batch {options.global_batch} is too small for {comm.size} ranks x {options.accumulate} part(s)"
        )
    session = Trainer(options, material, comm, say)
    start = initial_state(session)
    saver = CheckpointWriter(session, options.out / "checkpoint.pt")
    if is_elastic(options):
        end = run_elastic(session, start, saver)
    else:
        end = session.run(start, saver.save, options.checkpoint_every)
    sha256 = weights_digest(session.net.state_dict())
    if end.best is None:
        raise DataError(f"{saver.path}: ends before an epoch was judged: delete it")
    return TrainingResult(options, end.history, end.best, sha256, comm.all_agree(sha256))


def is_elastic(options: Options) -> bool:
    """Whether ranks may come and go: asked for, or launched so."""
    return options.elastic or (options.dist in ("auto", "horovod") and os.environ.get("HOROVOD_ELASTIC") == "1")


def initial_state(session: Trainer) -> TrainingState:
    """Put rank 0's first weights, or those of its checkpoint, on every rank."""
    options, comm = session.options, session.comm
    path = options.out / "checkpoint.pt"
    if is_elastic(options):
        # Joining ranks come at any time: state travels when Horovod synchronises it, not here.
        if not (options.resume and path.is_file()):
            return points.TrainingState()
        return points.restore(points.read_checkpoint(path, session.fixed_options), session.net, session.optimizer)[0]
    content, problem = b"", ""
    if comm.rank == 0:
        try:
            resumed = options.resume and path.is_file()
            content = points.read_checkpoint(path, session.fixed_options) if resumed else initial_checkpoint(session)
        except DataError as error:
            problem = str(error)
    # Rank 0 alone reads the file: the others must hear of its trouble, not wait for its weights.
    if problem := comm.broadcast_bytes(problem.encode()).decode():
        raise DataError(problem)
    return points.restore(comm.broadcast_bytes(content), session.net, session.optimizer)[0]


def initial_checkpoint(session: Trainer) -> bytes:
    """The start of a run, as a checkpoint."""
    return points.serialize(points.TrainingState(), session.net, session.optimizer, session.fixed_options)


@dataclass
class CheckpointWriter:
    """Writes checkpoints on rank 0."""

    trainer: Trainer
    path: Path

    def save(self, progress: TrainingState, _done: bool) -> None:
        """Write one."""
        if self.trainer.comm.rank == 0:
            content = points.serialize(progress, self.trainer.net, self.trainer.optimizer, self.trainer.fixed_options)
            points.write_atomically(self.path, content)


def run_elastic(session: Trainer, start: TrainingState, saver: CheckpointWriter) -> TrainingState:
    """Train while ranks come and go: after a loss the others go back to the last commit and go on without it."""
    import horovod.torch as hvd

    options = session.options

    def keep(progress: TrainingState, done: bool) -> None:
        every = options.checkpoint_every
        if done or (every and progress.iteration % every == 0):
            saver.save(progress, done)
        state.progress = progress
        state.commit()

    def rounds(held: Any) -> TrainingState:
        session.restart(held.progress)
        return session.run(held.progress, keep, options.commit_every)

    state = hvd.elastic.TorchState(model=session.net, optimizer=session.optimizer, progress=start)
    end: TrainingState = hvd.elastic.run(rounds)(state)
    return end


def baseline_options(options: Options) -> Options:
    """The same run without adaptation (between sensors: without alignment), in a folder of its own."""
    return replace(options, method="none", transfer_weight=-1.0, out=options.out / "baseline", baseline=False)


def train_comparisons(
    options: Options, material: Dataset, comm: Communicator, say: Callable[[str], None]
) -> dict[str, TrainingResult]:
    """Train what ``--baseline`` asks for, by name: see :data:`COMPARED`."""
    plain = baseline_options(options)
    wanted = {"no_alignment" if options.task == "sensors" else "source_only": (plain, material)}
    if options.method == "none":
        wanted.clear()
    if material.target_supervised is not None:
        wanted["target_labels"] = replace(plain, out=options.out / "direct"), material.target_supervised
    trained = {}
    for name, (asked, rows) in wanted.items() if options.baseline else ():
        if comm.rank == 0:
            say(f"{COMPARISONS[options.task][name]}, to compare with")
        trained[name] = train(asked, rows, comm, say)
    return trained
