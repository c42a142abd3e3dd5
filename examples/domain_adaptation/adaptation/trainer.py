"""One training on one rank: its network, optimiser and rows, and what is done with them step by step."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from adaptation import batching, losses, models
from adaptation.checkpoint import FIXED_OPTIONS, RunningTotals, TrainingState

if TYPE_CHECKING:
    from torch import Tensor

    from adaptation.dataset import Dataset
    from adaptation.distributed import Communicator
    from adaptation.options import Options

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
#: The rate falls as (1 + GAMMA iteration)^-POWER, DANN's schedule with a length of its own.
GAMMA, POWER = 1e-3, 0.75
#: A rate scaled with the number of ranks is reached within so many epochs (Goyal et al., 2017, section 2.2).
WARM_UP_EPOCHS = 5
#: Rows judged at once.
EVALUATION_BATCH = 256


class Trainer:
    """A network in training.

    :param say: takes lines of progress; called on rank 0 only.
    """

    def __init__(self, options: Options, material: Dataset, comm: Communicator, say: Callable[[str], None]) -> None:
        self.options, self.dataset, self.comm, self._log = options, material, comm, say
        self.device = material.source_rows.device
        net = build_network(options, material)
        # Without a part in the loss it would get no gradient here and zeros there.
        net["domain"].requires_grad_(options.method == "dann")
        if material.paired_rows is not None:
            net["target_features"].requires_grad_(options.method != "none" or options.pair_weight > 0)
        self.net = net.to(self.device)
        trained = [value for value in self.net.parameters() if value.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=options.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        # What the first step would begin with. Horovod's elastic state fills an empty optimiser by a step of its own,
        # on the rank that joins alone, and the weight decay in that step sets its weights apart from the others'.
        for value in trained:
            self.optimizer.state[value]["momentum_buffer"] = torch.zeros_like(value)
        self._half_dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=options.amp and self.device.type == "cuda")
        self._objective = losses.Objective(
            options.method,
            options.weight,
            options.transfer_scope,
            options.pair_weight if material.paired_rows is not None else 0.0,
        )
        self._streams = (
            batching.BatchStream(len(material.training_indices), options.seed, 0),
            batching.BatchStream(len(material.target_rows), options.seed, 1),
        )
        self.iterations_per_epoch = math.ceil(len(material.training_indices) / options.global_batch)
        self.iterations = options.iters or options.epochs * self.iterations_per_epoch
        self.epochs = math.ceil(self.iterations / self.iterations_per_epoch)
        self.restart(TrainingState())

    @property
    def fixed_options(self) -> dict[str, Any]:
        """The options that make the run what it is."""
        return {name: getattr(self.options, name) for name in FIXED_OPTIONS} | {
            "transfer_weight": self.options.weight,
            "classes": len(self.dataset.classes),
            self.dataset.row_name: len(self.dataset.training_indices) + len(self.dataset.target_rows),
        }

    def restart(self, progress: TrainingState) -> None:
        """Begin, or begin again after a loss, from weights that are already in place."""
        self._loss_sums = torch.zeros(
            3, dtype=torch.float64, device="cpu" if self.device.type == "mps" else self.device
        )
        self._iterations_summed, self._summed_since_s = 0, time.perf_counter()
        if progress.scaler:
            self._scaler.load_state_dict(progress.scaler)

    def run(self, progress: TrainingState, keep: Callable[[TrainingState, bool], None], every: int) -> TrainingState:
        """Train from there to the end.

        :param keep: gets the progress each ``every`` iterations (0: never) and at the end, and whether that is the end.
        """
        while progress.iteration < self.iterations:
            self.step(progress.iteration)
            progress = replace(progress, iteration=progress.iteration + 1)
            done = progress.iteration == self.iterations
            epoch_over = done or progress.iteration % self.iterations_per_epoch == 0
            due = bool(every) and progress.iteration % every == 0
            if due or epoch_over or progress.iteration % self.options.log_every == 0:
                progress = self._add_totals(progress)
            if epoch_over:
                progress = self._finish_epoch(progress)
            if due or done:
                keep(replace(progress, scaler=self._scaler.state_dict() or None), done)
        return progress

    def step(self, iteration: int) -> None:
        """One update of the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(iteration)
        self.optimizer.zero_grad(set_to_none=True)
        strength = losses.ramp_strength(iteration, self.options.ramp)
        for part in self.parts(iteration):
            with torch.autocast(self.device.type, dtype=self._half_dtype, enabled=self.options.amp):
                shares = losses.loss_shares(self.net, part, self._objective, strength, self.comm)
            self._scaler.scale(shares.total).backward()
            self._loss_sums += torch.stack([shares.class_loss, shares.transfer_loss, shares.pair_loss])
        # Before the scaling is taken off: an overflow on one rank reaches all, and all skip the step.
        self.comm.sum_gradients(self.net.parameters())
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._iterations_summed += 1

    def parts(self, iteration: int) -> list[losses.BatchPart]:
        """This rank's rows of a batch, in the parts that are worked through one after another."""
        batch = self.options.global_batch
        source, target = (stream.batch(iteration, batch) for stream in self._streams)
        found = []
        start = 0
        for rows in batching.split_evenly(batch, self.options.accumulate):
            counts = batching.split_evenly(rows, self.comm.size)
            mine = [
                batching.rank_slice(indices[start : start + rows], counts, self.comm.rank)
                for indices in (source, target)
            ]
            kept, aside = (torch.from_numpy(indices).to(self.device) for indices in mine)
            chosen = self.dataset.training_indices[kept]
            found.append(
                losses.BatchPart(
                    source=models.normalize(self.dataset.source_rows[chosen]),
                    labels=self.dataset.source_labels[chosen],
                    target=models.normalize(self.dataset.target_rows[aside]),
                    counts=counts,
                    total=batch,
                    paired=None if self.dataset.paired_rows is None else self.dataset.paired_rows[aside],
                )
            )
            start += rows
        return found

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, with as many ranks as there are now."""
        ranks = self.comm.size
        factor = {"none": 1.0, "linear": float(ranks), "sqrt": math.sqrt(ranks)}[self.options.lr_scaling]
        warm = min(1.0, iteration / (WARM_UP_EPOCHS * self.iterations_per_epoch))
        fallen = math.pow(1 + GAMMA * iteration, -POWER)
        return self.options.lr * (1 + (factor - 1) * warm) * fallen

    def accuracies(self) -> tuple[float, float, list[float]]:
        """Share of correct answers on the source's validation rows, on the rows to judge, on each class of these."""
        material = self.dataset
        judged = (
            material.source_rows[material.validation_indices],
            material.source_labels[material.validation_indices],
        )
        source = self._count_correct(self.net["features"], *judged)
        target = self._count_correct(models.target_encoder(self.net), material.test_rows, material.test_labels)
        right = self.comm.sum(torch.stack([source, target]), "right")
        classes = material.test_labels.bincount(minlength=len(material.classes)).cpu().clamp(min=1)
        shares = (right[1] / classes).tolist()
        return (
            float(right[0].sum()) / len(material.validation_indices),
            float(right[1].sum()) / len(material.test_rows),
            shares,
        )

    def _count_correct(self, features: Any, rows: Tensor, labels: Tensor) -> Tensor:
        """Correct answers among this rank's share of the rows, by class."""
        mine = slice(self.comm.rank, None, self.comm.size)
        right = torch.zeros(len(self.dataset.classes), dtype=torch.float64)
        with torch.no_grad(), torch.autocast(self.device.type, dtype=self._half_dtype, enabled=self.options.amp):
            pieces = zip(rows[mine].split(EVALUATION_BATCH), labels[mine].split(EVALUATION_BATCH), strict=True)
            for some, truth in pieces:
                logits = self.net["classifier"](features(models.normalize(some)))
                right += truth[logits.argmax(dim=1) == truth].bincount(minlength=len(right)).cpu()
        return right

    def _add_totals(self, progress: TrainingState) -> TrainingState:
        """Add what was summed up since the last time, over all ranks, to the totals; say how it goes."""
        if self._iterations_summed == 0:
            return progress
        classes, transfer, pairs = self.comm.sum(self._loss_sums.cpu(), "losses").tolist()
        seconds = time.perf_counter() - self._summed_since_s
        old, count = progress.totals, self._iterations_summed
        totals = RunningTotals(
            old.classes + classes,
            old.transfer + transfer,
            old.pairs + pairs,
            old.iterations + count,
            old.seconds + seconds,
        )
        if self.comm.rank == 0 and progress.iteration % self.options.log_every == 0:
            speed = 2 * self.options.global_batch * count / seconds
            self._log(
                f"iteration {progress.iteration}/{self.iterations}  class loss {classes / count:.4f}  "
                f"transfer loss {transfer / count:.5f}  {speed:.0f} {self.dataset.row_name}/s"
            )
        self._loss_sums.zero_()
        self._iterations_summed, self._summed_since_s = 0, time.perf_counter()
        return replace(progress, totals=totals)

    def _finish_epoch(self, progress: TrainingState) -> TrainingState:
        """Figures of the epoch that has ended, and its weights where they are the best so far."""
        totals, epoch = progress.totals, math.ceil(progress.iteration / self.iterations_per_epoch)
        source, target, shares = self.accuracies()
        speed = 2 * self.options.global_batch * totals.iterations / max(totals.seconds, 1e-9)
        figures: dict[str, Any] = {
            "epoch": epoch,
            "iteration": progress.iteration,
            "class_loss": totals.classes / max(1, totals.iterations),
            "transfer_loss": totals.transfer / max(1, totals.iterations),
            "source_accuracy": source,
            "target_accuracy": target,
            "learning_rate": self.rate(progress.iteration - 1),
            "ranks": self.comm.size,
            f"{self.dataset.row_name}_per_second": speed,
        }
        if self.options.task == "sensors":
            figures |= {"pair_loss": totals.pairs / max(1, totals.iterations), "target_recall": shares}
        if self.comm.rank == 0:
            ranks = f"{self.comm.size} rank{'s' if self.comm.size > 1 else ''}"
            self._log(
                f"epoch {epoch}/{self.epochs}  class loss {figures['class_loss']:.4f}  "
                f"transfer loss {figures['transfer_loss']:.5f}  source {source:.3f}  target {target:.3f}  "
                f"{speed:.0f} {self.dataset.row_name}/s  {ranks}"
            )
        best = progress.best
        # The later of two equals: the source is learnt early, adaptation goes on.
        if best is None or source >= best["source_accuracy"]:
            best = {name: figures[name] for name in ("epoch", "source_accuracy", "target_accuracy")}
            best["weights"] = {name: value.cpu().clone() for name, value in self.net.state_dict().items()}
        self._summed_since_s = time.perf_counter()
        return replace(progress, totals=RunningTotals(), history=(*progress.history, figures), best=best)


def build_network(options: Options, material: Dataset) -> Any:
    """The task's network, with its first weights."""
    count = len(material.classes)
    if options.task == "images":
        return models.build_image_model(options.net, count, seed=options.seed, weights=options.weights)
    samples = [material.source_rows[material.training_indices]]
    if material.paired_rows is not None:
        samples.append(material.target_rows)
    return models.build_sensor_model(samples, count, seed=options.seed)


def weights_digest(weights: dict[str, Any]) -> str:
    """SHA-256 over names, shapes and bytes of weights."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
