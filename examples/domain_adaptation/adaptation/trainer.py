"""Training on one rank: its network, optimizer and rows, and the steps of the training loop."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from adaptation import acceleration, losses
from adaptation.checkpoint import ADDED_OPTIONS, FIXED_OPTIONS, RunningTotals, TrainingState
from adaptation.networks import models
from adaptation.rows.loading import BatchLoader

if TYPE_CHECKING:
    from torch import Tensor

    from adaptation.dataset import Dataset
    from adaptation.distributed import Communicator
    from adaptation.options import Options

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
#: The rate decays as (1 + GAMMA iteration)^-POWER: DANN's schedule (Ganin et al., 2016, section 5.2), in iterations.
GAMMA, POWER = 1e-3, 0.75
#: Epochs over which a rate scaled with the number of ranks is reached (Goyal et al., 2017, section 2.2).
WARM_UP_EPOCHS = 5


class Trainer:
    """A network in training.

    :param log: called with lines of progress, on rank 0 only.
    """

    def __init__(self, options: Options, dataset: Dataset, comm: Communicator, log: Callable[[str], None]) -> None:
        self.options, self.dataset, self.comm, self._log = options, dataset, comm, log
        self.device = dataset.source_rows.device
        network = build_network(options, dataset)
        # A module that does not contribute to the loss would have no gradient with one rank and zeros with several.
        network["domain"].requires_grad_(options.method in losses.ADVERSARIAL)
        if dataset.paired_rows is not None:
            network["target_features"].requires_grad_(options.method != "none" or options.pair_weight > 0)
        self.net = acceleration.prepare_network(network, options, self.device)
        self._buckets = acceleration.GradientBuckets(self.net.parameters()) if options.overlap else None
        trainable = [value for value in self.net.parameters() if value.requires_grad]
        self.optimizer = torch.optim.SGD(
            parameter_groups(self.net, options), lr=options.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        # The initial momentum, set explicitly: Horovod's elastic state initializes an empty optimizer with a step of
        # its own, only on the joining rank, and the weight decay of that step would make its weights differ.
        for value in trainable:
            self.optimizer.state[value]["momentum_buffer"] = torch.zeros_like(value)
        self._half_dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=options.amp and self.device.type == "cuda")
        self._objective = losses.Objective(
            options.method,
            options.weight,
            options.transfer_scope,
            options.pair_weight if dataset.paired_rows is not None else 0.0,
        )
        self._loader = BatchLoader(options, dataset, uses_target=self._objective.uses_target)
        self.iterations_per_epoch = math.ceil(len(dataset.training_indices) / options.global_batch)
        self.iterations = options.iters or options.epochs * self.iterations_per_epoch
        self.epochs = math.ceil(self.iterations / self.iterations_per_epoch)
        self.restart(TrainingState())

    @property
    def fixed_options(self) -> dict[str, Any]:
        """Options that a checkpoint must share with the run that resumes it."""
        # Options that checkpoints of earlier versions lack are saved if they are not the default.
        added = {
            name: getattr(self.options, name)
            for name in ADDED_OPTIONS
            if getattr(self.options, name) != type(self.options).__dataclass_fields__[name].default
        }
        return (
            added
            | {name: getattr(self.options, name) for name in FIXED_OPTIONS}
            | {
                "transfer_weight": self.options.weight,
                "classes": len(self.dataset.classes),
                self.dataset.row_name: len(self.dataset.training_indices) + len(self.dataset.target_rows),
            }
        )

    @property
    def _rows_per_iteration(self) -> int:
        return self.options.global_batch * (2 if self._objective.uses_target else 1)

    def restart(self, state: TrainingState) -> None:
        """Start, or restart after a loss of ranks, from weights that are already in place."""
        # Double precision is not available on Apple GPUs (MPS).
        self._loss_sums = torch.zeros(
            3, dtype=torch.float64, device="cpu" if self.device.type == "mps" else self.device
        )
        self._iterations_summed, self._summed_since_s = 0, time.perf_counter()
        if state.scaler:
            self._scaler.load_state_dict(state.scaler)

    def run(self, state: TrainingState, save: Callable[[TrainingState, bool], None], every: int) -> TrainingState:
        """Train from ``state`` to the end and return the final state.

        :param save: called with the state every ``every`` iterations (0: never) and at the end, and with True at the
            end.
        """
        while state.iteration < self.iterations:
            self.step(state.iteration)
            state = replace(state, iteration=state.iteration + 1)
            done = state.iteration == self.iterations
            epoch_over = done or state.iteration % self.iterations_per_epoch == 0
            due = bool(every) and state.iteration % every == 0
            if due or epoch_over or state.iteration % self.options.log_every == 0:
                state = self._add_totals(state)
            if epoch_over:
                state = self._finish_epoch(state)
            if due or done:
                save(replace(state, scaler=self._scaler.state_dict() or None), done)
        return state

    def step(self, iteration: int) -> None:
        """Update the weights once."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(iteration) * group.get("rate_factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        strength = losses.ramp_strength(iteration, self.options.ramp)
        parts = self._loader.parts(iteration, self.comm)
        for number, part in enumerate(parts, 1):
            if self._buckets and number == len(parts):
                self._buckets.begin(self.comm)
            with torch.autocast(self.device.type, dtype=self._half_dtype, enabled=self.options.amp):
                shares = losses.loss_shares(self.net, part, self._objective, strength, self.comm)
            self._scaler.scale(shares.total).backward()
            self._loss_sums += torch.stack([shares.class_loss, shares.transfer_loss, shares.pair_loss])
        # Summed before unscaling: an overflow on one rank propagates to all ranks, and all skip the step.
        if self._buckets:
            self._buckets.finish()
        else:
            self.comm.sum_gradients(self.net.parameters())
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._iterations_summed += 1

    def rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration for the current number of ranks."""
        ranks = self.comm.size
        factor = {"none": 1.0, "linear": float(ranks), "sqrt": math.sqrt(ranks)}[self.options.lr_scaling]
        warm_up = min(1.0, iteration / (WARM_UP_EPOCHS * self.iterations_per_epoch))
        decay = math.pow(1 + GAMMA * iteration, -POWER)
        return self.options.lr * (1 + (factor - 1) * warm_up) * decay

    def accuracies(self) -> tuple[float | None, float, list[float]]:
        """Return the accuracy on source validation rows (None without any), on test rows, and on each test class."""
        dataset = self.dataset
        held_out = dataset.validation_indices
        everything = torch.arange(len(dataset.test_rows), device=self.device)
        source = self._count_correct(
            self.net["features"], dataset.source_rows, held_out, dataset.source_labels[held_out]
        )
        target = self._count_correct(
            models.target_encoder(self.net), dataset.test_rows, everything, dataset.test_labels
        )
        correct = self.comm.sum(torch.stack([source, target]), "right")
        classes = dataset.test_labels.bincount(minlength=len(dataset.classes)).cpu().clamp(min=1)
        recalls = (correct[1] / classes).tolist()
        return (
            float(correct[0].sum()) / len(held_out) if len(held_out) else None,
            float(correct[1].sum()) / len(dataset.test_rows),
            recalls,
        )

    def _count_correct(self, features: Any, rows: Any, indices: Tensor, labels: Tensor) -> Tensor:
        """Count correct predictions among this rank's share of the rows, by class."""
        # Each rank evaluates its share; counts, unlike means, can be summed over unequal shares.
        own = slice(self.comm.rank, None, self.comm.size)
        correct = torch.zeros(len(self.dataset.classes), dtype=torch.float64)
        with torch.no_grad(), torch.autocast(self.device.type, dtype=self._half_dtype, enabled=self.options.amp):
            for batch, truth in self._loader.evaluation_batches(rows, indices[own], labels[own]):
                logits = self.net["classifier"](features(batch))
                correct += truth[logits.argmax(dim=1) == truth].bincount(minlength=len(correct)).cpu()
        return correct

    def _add_totals(self, state: TrainingState) -> TrainingState:
        """Add the sums since the last call, over all ranks, to the totals; log progress."""
        if self._iterations_summed == 0:
            return state
        classes, transfer, pairs = self.comm.sum(self._loss_sums.cpu(), "losses").tolist()
        seconds = time.perf_counter() - self._summed_since_s
        previous, count = state.totals, self._iterations_summed
        totals = RunningTotals(
            previous.classes + classes,
            previous.transfer + transfer,
            previous.pairs + pairs,
            previous.iterations + count,
            previous.seconds + seconds,
        )
        if self.comm.rank == 0 and state.iteration % self.options.log_every == 0:
            speed = self._rows_per_iteration * count / seconds
            self._log(
                f"iteration {state.iteration}/{self.iterations}  class loss {classes / count:.4f}  "
                f"transfer loss {transfer / count:.5f}  {speed:.0f} {self.dataset.row_name}/s"
            )
        self._loss_sums.zero_()
        self._iterations_summed, self._summed_since_s = 0, time.perf_counter()
        return replace(state, totals=totals)

    def _finish_epoch(self, state: TrainingState) -> TrainingState:
        """Append the metrics of the finished epoch, and keep its weights if they are the best so far."""
        totals, epoch = state.totals, math.ceil(state.iteration / self.iterations_per_epoch)
        source, target, recalls = self.accuracies()
        speed = self._rows_per_iteration * totals.iterations / max(totals.seconds, 1e-9)
        metrics: dict[str, Any] = {
            "epoch": epoch,
            "iteration": state.iteration,
            "class_loss": totals.classes / max(1, totals.iterations),
            "transfer_loss": totals.transfer / max(1, totals.iterations),
            "source_accuracy": source,
            "target_accuracy": target,
            "learning_rate": self.rate(state.iteration - 1),
            "ranks": self.comm.size,
            f"{self.dataset.row_name}_per_second": speed,
        }
        if self.options.task == "sensors":
            metrics |= {"pair_loss": totals.pairs / max(1, totals.iterations), "target_recall": recalls}
        if self.comm.rank == 0:
            ranks = f"{self.comm.size} rank{'s' if self.comm.size > 1 else ''}"
            self._log(
                f"epoch {epoch}/{self.epochs}  class loss {metrics['class_loss']:.4f}  "
                f"transfer loss {metrics['transfer_loss']:.5f}  "
                f"{'' if source is None else f'source {source:.3f}  '}target {target:.3f}  "
                f"{speed:.0f} {self.dataset.row_name}/s  {ranks}"
            )
        best = state.best
        # The later of equals: source accuracy saturates early while adaptation continues.
        if best is None or source is None or source >= best["source_accuracy"]:
            best = {name: metrics[name] for name in ("epoch", "source_accuracy", "target_accuracy")}
            best["weights"] = {name: value.cpu().clone() for name, value in self.net.state_dict().items()}
        self._summed_since_s = time.perf_counter()
        return replace(state, totals=RunningTotals(), history=(*state.history, metrics), best=best)


def build_network(options: Options, dataset: Dataset) -> Any:
    """Return the network of the task with its initial weights."""
    count, conditional = len(dataset.classes), options.method == "cdan"
    if options.task == "images":
        return models.build_image_model(
            options.net, count, seed=options.seed, weights=options.weights, conditional=conditional
        )
    samples = [dataset.source_rows[dataset.training_indices]]
    if dataset.paired_rows is not None:
        samples.append(dataset.target_rows)
    return models.build_sensor_model(samples, count, seed=options.seed, conditional=conditional)


def parameter_groups(net: Any, options: Options) -> list[dict[str, Any]]:
    """Return the parameters to train, those of a pretrained backbone with a rate of their own."""
    backbone = models.backbone_parameters(net)
    trainable = [value for value in net.parameters() if value.requires_grad]
    groups = [{"params": [value for value in trainable if value not in backbone], "rate_factor": 1.0}]
    if backbone:
        pretrained = [value for value in trainable if value in backbone]
        groups.insert(0, {"params": pretrained, "rate_factor": options.backbone_rate})
    return groups


def weights_digest(weights: dict[str, Any]) -> str:
    """Return the SHA-256 of names, shapes and bytes of weights."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
