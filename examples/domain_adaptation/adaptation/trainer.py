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
from adaptation.checkpoint import FIXED, Progress, Totals

if TYPE_CHECKING:
    from torch import Tensor

    from adaptation.dataset import Material
    from adaptation.distributed import Comm
    from adaptation.options import Options

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
#: The rate falls as (1 + GAMMA iteration)^-POWER, DANN's schedule with a length of its own.
GAMMA, POWER = 1e-3, 0.75
#: A rate scaled with the number of ranks is reached within so many epochs (Goyal et al., 2017, section 2.2).
WARM_UP = 5
#: Rows judged at once.
JUDGED_AT_ONCE = 256


class Session:
    """A network in training.

    :param say: takes lines of progress; called on rank 0 only.
    """

    def __init__(self, options: Options, material: Material, comm: Comm, say: Callable[[str], None]) -> None:
        self.options, self.material, self.comm, self._say = options, material, comm, say
        self.device = material.source_rows.device
        net = network(options, material)
        # Without a part in the loss it would get no gradient here and zeros there.
        net["domain"].requires_grad_(options.method == "dann")
        if material.partners is not None:
            net["target_features"].requires_grad_(options.method != "none" or options.pair_weight > 0)
        self.net = net.to(self.device)
        trained = [value for value in self.net.parameters() if value.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=options.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        # What the first step would begin with. Horovod's elastic state fills an empty optimiser by a step of its own,
        # on the rank that joins alone, and the weight decay in that step sets its weights apart from the others'.
        for value in trained:
            self.optimizer.state[value]["momentum_buffer"] = torch.zeros_like(value)
        self._half = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=options.amp and self.device.type == "cuda")
        self._goal = losses.Goal(
            options.method,
            options.weight,
            options.transfer_scope,
            options.pair_weight if material.partners is not None else 0.0,
        )
        self._streams = (
            batching.Stream(len(material.kept), options.seed, 0),
            batching.Stream(len(material.target_rows), options.seed, 1),
        )
        self.per_epoch = math.ceil(len(material.kept) / options.global_batch)
        self.iterations = options.iters or options.epochs * self.per_epoch
        self.epochs = math.ceil(self.iterations / self.per_epoch)
        self.restart(Progress())

    @property
    def fixed(self) -> dict[str, Any]:
        """The options that make the run what it is."""
        return {name: getattr(self.options, name) for name in FIXED} | {
            "transfer_weight": self.options.weight,
            "classes": len(self.material.classes),
            self.material.rows: len(self.material.kept) + len(self.material.target_rows),
        }

    def restart(self, progress: Progress) -> None:
        """Begin, or begin again after a loss, from weights that are already in place."""
        self._sums = torch.zeros(3, dtype=torch.float64, device="cpu" if self.device.type == "mps" else self.device)
        self._count, self._since = 0, time.perf_counter()
        if progress.scaler:
            self._scaler.load_state_dict(progress.scaler)

    def run(self, progress: Progress, keep: Callable[[Progress, bool], None], every: int) -> Progress:
        """Train from there to the end.

        :param keep: gets the progress each ``every`` iterations (0: never) and at the end, and whether that is the end.
        """
        while progress.iteration < self.iterations:
            self.step(progress.iteration)
            progress = replace(progress, iteration=progress.iteration + 1)
            done = progress.iteration == self.iterations
            epoch_over = done or progress.iteration % self.per_epoch == 0
            due = bool(every) and progress.iteration % every == 0
            if due or epoch_over or progress.iteration % self.options.log_every == 0:
                progress = self._absorb(progress)
            if epoch_over:
                progress = self._judge(progress)
            if due or done:
                keep(replace(progress, scaler=self._scaler.state_dict() or None), done)
        return progress

    def step(self, iteration: int) -> None:
        """One update of the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(iteration)
        self.optimizer.zero_grad(set_to_none=True)
        strength = losses.ramp(iteration, self.options.ramp)
        for part in self.parts(iteration):
            with torch.autocast(self.device.type, dtype=self._half, enabled=self.options.amp):
                shares = losses.shares(self.net, part, self._goal, strength, self.comm)
            self._scaler.scale(shares.backward).backward()
            self._sums += torch.stack([shares.classes, shares.transfer, shares.pairs])
        # Before the scaling is taken off: an overflow on one rank reaches all, and all skip the step.
        self.comm.sum_gradients(self.net.parameters())
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._count += 1

    def parts(self, iteration: int) -> list[losses.Part]:
        """This rank's rows of a batch, in the parts that are worked through one after another."""
        batch = self.options.global_batch
        source, target = (stream.batch(iteration, batch) for stream in self._streams)
        found = []
        start = 0
        for rows in batching.shares(batch, self.options.accumulate):
            counts = batching.shares(rows, self.comm.size)
            mine = [batching.own(indices[start : start + rows], counts, self.comm.rank) for indices in (source, target)]
            kept, aside = (torch.from_numpy(indices).to(self.device) for indices in mine)
            chosen = self.material.kept[kept]
            found.append(
                losses.Part(
                    source=models.normalised(self.material.source_rows[chosen]),
                    labels=self.material.source_labels[chosen],
                    target=models.normalised(self.material.target_rows[aside]),
                    counts=counts,
                    total=batch,
                    partners=None if self.material.partners is None else self.material.partners[aside],
                )
            )
            start += rows
        return found

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, with as many ranks as there are now."""
        ranks = self.comm.size
        factor = {"none": 1.0, "linear": float(ranks), "sqrt": math.sqrt(ranks)}[self.options.lr_scaling]
        warm = min(1.0, iteration / (WARM_UP * self.per_epoch))
        fallen = math.pow(1 + GAMMA * iteration, -POWER)
        return self.options.lr * (1 + (factor - 1) * warm) * fallen

    def accuracies(self) -> tuple[float, float, list[float]]:
        """Share of correct answers on the source's validation rows, on the rows to judge, on each class of these."""
        material = self.material
        judged = (material.source_rows[material.judged], material.source_labels[material.judged])
        source = self._right(self.net["features"], *judged)
        target = self._right(models.of_target(self.net), material.test_rows, material.test_labels)
        right = self.comm.sum(torch.stack([source, target]), "right")
        classes = material.test_labels.bincount(minlength=len(material.classes)).cpu().clamp(min=1)
        shares = (right[1] / classes).tolist()
        return float(right[0].sum()) / len(material.judged), float(right[1].sum()) / len(material.test_rows), shares

    def _right(self, features: Any, rows: Tensor, labels: Tensor) -> Tensor:
        """Correct answers among this rank's share of the rows, by class."""
        mine = slice(self.comm.rank, None, self.comm.size)
        right = torch.zeros(len(self.material.classes), dtype=torch.float64)
        with torch.no_grad(), torch.autocast(self.device.type, dtype=self._half, enabled=self.options.amp):
            pieces = zip(rows[mine].split(JUDGED_AT_ONCE), labels[mine].split(JUDGED_AT_ONCE), strict=True)
            for some, truth in pieces:
                logits = self.net["classifier"](features(models.normalised(some)))
                right += truth[logits.argmax(dim=1) == truth].bincount(minlength=len(right)).cpu()
        return right

    def _absorb(self, progress: Progress) -> Progress:
        """Add what was summed up since the last time, over all ranks, to the totals; say how it goes."""
        if self._count == 0:
            return progress
        classes, transfer, pairs = self.comm.sum(self._sums.cpu(), "losses").tolist()
        seconds = time.perf_counter() - self._since
        old, count = progress.totals, self._count
        totals = Totals(
            old.classes + classes,
            old.transfer + transfer,
            old.pairs + pairs,
            old.iterations + count,
            old.seconds + seconds,
        )
        if self.comm.rank == 0 and progress.iteration % self.options.log_every == 0:
            speed = 2 * self.options.global_batch * count / seconds
            self._say(
                f"iteration {progress.iteration}/{self.iterations}  class loss {classes / count:.4f}  "
                f"transfer loss {transfer / count:.5f}  {speed:.0f} {self.material.rows}/s"
            )
        self._sums.zero_()
        self._count, self._since = 0, time.perf_counter()
        return replace(progress, totals=totals)

    def _judge(self, progress: Progress) -> Progress:
        """Figures of the epoch that has ended, and its weights where they are the best so far."""
        totals, epoch = progress.totals, math.ceil(progress.iteration / self.per_epoch)
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
            f"{self.material.rows}_per_second": speed,
        }
        if self.options.task == "sensors":
            figures |= {"pair_loss": totals.pairs / max(1, totals.iterations), "target_recall": shares}
        if self.comm.rank == 0:
            ranks = f"{self.comm.size} rank{'s' if self.comm.size > 1 else ''}"
            self._say(
                f"epoch {epoch}/{self.epochs}  class loss {figures['class_loss']:.4f}  "
                f"transfer loss {figures['transfer_loss']:.5f}  source {source:.3f}  target {target:.3f}  "
                f"{speed:.0f} {self.material.rows}/s  {ranks}"
            )
        best = progress.best
        # The later of two equals: the source is learnt early, adaptation goes on.
        if best is None or source >= best["source_accuracy"]:
            best = {name: figures[name] for name in ("epoch", "source_accuracy", "target_accuracy")}
            best["weights"] = {name: value.cpu().clone() for name, value in self.net.state_dict().items()}
        self._since = time.perf_counter()
        return replace(progress, totals=Totals(), history=(*progress.history, figures), best=best)


def network(options: Options, material: Material) -> Any:
    """The task's network, with its first weights."""
    count = len(material.classes)
    if options.task == "images":
        return models.build(options.net, count, seed=options.seed, weights=options.weights)
    samples = [material.source_rows[material.kept]]
    if material.partners is not None:
        samples.append(material.target_rows)
    return models.build_sensors(samples, count, seed=options.seed)


def digest(weights: dict[str, Any]) -> str:
    """SHA-256 over names, shapes and bytes of weights."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
