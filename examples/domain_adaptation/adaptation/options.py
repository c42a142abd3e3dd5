"""What can be asked for on the command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from adaptation.comm import BACKENDS
from adaptation.losses import METHODS, WEIGHTS
from adaptation.nets import NETS


@dataclass(frozen=True)
class Options:
    """One run. Fields are the command line's options; see ``train.py --help`` for their meaning."""

    data: Path
    out: Path
    source: str = "amazon"
    target: str = "webcam"
    method: str = "coral"
    dist: str = "auto"
    device: str = "auto"
    epochs: int = 10
    iters: int = 0
    global_batch: int = 64
    accumulate: int = 1
    seed: int = 0
    image_size: int = 32
    net: str = "small"
    weights: Path | None = None
    lr: float = 0.01
    lr_scaling: str = "none"
    transfer_weight: float = -1.0
    transfer_scope: str = "global"
    ramp: int = 300
    amp: bool = False
    checkpoint_every: int = 0
    resume: bool = False
    elastic: bool = False
    commit_every: int = 10
    threads: int = 0
    log_every: int = 20
    baseline: bool = False

    @property
    def weight(self) -> float:
        """Weight of the transfer loss: as asked for, or the method's own."""
        return WEIGHTS[self.method] if self.transfer_weight < 0 else self.transfer_weight


#: Name, least value, meaning.
WHOLE = (
    ("epochs", 1, "passes over the source images"),
    ("iters", 0, "iterations instead of epochs; 0: as --epochs says"),
    ("global-batch", 2, "images per iteration and domain, over all ranks"),
    ("accumulate", 1, "parts that a batch is worked through in, one after another, to save memory"),
    ("seed", 0, "of the first weights, the validation split and the order of images"),
    ("image-size", 16, "pixels along a side that images are scaled to"),
    ("ramp", 1, "iterations over which the transfer loss grows to its weight"),
    ("checkpoint-every", 0, "iterations between checkpoints; 0: at the end only"),
    ("commit-every", 1, "elastic: iterations between commits, at most so many are repeated after a loss"),
    ("threads", 0, "CPU threads per rank; 0: the host's cores shared among its ranks"),
    ("log-every", 1, "iterations between lines of progress"),
)
CHOICES = (
    ("method", METHODS, "DeepCORAL, DAN (multi-kernel MMD), DANN, or none: train on the source alone"),
    ("dist", ("auto", *BACKENDS), "how ranks talk; auto: as horovodrun or torchrun launched them"),
    ("device", ("auto", "cpu", "cuda"), "auto: the GPU of the rank's number on its host, if it has one"),
    ("net", NETS, "resnet50 needs torchvision"),
    ("lr-scaling", ("none", "linear", "sqrt"), "of the learning rate with the number of ranks"),
    (
        "transfer-scope",
        ("global", "local"),
        "coral, dan: over all ranks' images, or each rank's own (another objective)",
    ),
)
FLAGS = (
    ("amp", "mixed precision: float16 with loss scaling on GPUs, bfloat16 on CPUs"),
    ("resume", "go on from the checkpoint in --out, if there is one"),
    ("elastic", "go on when ranks come and go (by itself under an elastic horovodrun)"),
    ("baseline", "train on the source alone first, to compare with"),
)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message} (--help tells all options)\n")


def whole(low: int) -> Callable[[str], int]:
    """A checker for whole numbers from ``low``."""

    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= 10**9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low}")
        return int(text)

    return number


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def parse(words: list[str] | None = None) -> Options:
    """The command line as options; leaves with exit code 2 when it makes no sense."""
    defaults = {name: field.default for name, field in Options.__dataclass_fields__.items()}
    parser = Parser(prog="train.py", description="Unsupervised domain adaptation of an image classifier.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of domains, each of classes")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for results; made if need be")
    parser.add_argument("--source", default="amazon", metavar="DOMAIN", help="labelled domain (default: amazon)")
    parser.add_argument("--target", default="webcam", metavar="DOMAIN", help="domain to adapt to (default: webcam)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="resnet50: a state dict to begin with")
    for name, least, meaning in WHOLE:
        default = defaults[name.replace("-", "_")]
        parser.add_argument(
            f"--{name}", type=whole(least), default=default, metavar="N", help=f"{meaning} (default: {default})"
        )
    for name, choices, meaning in CHOICES:
        default = defaults[name.replace("-", "_")]
        parser.add_argument(f"--{name}", choices=choices, default=default, help=f"{meaning} (default: {default})")
    for name, meaning in FLAGS:
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    parser.add_argument("--lr", type=positive, default=defaults["lr"], help="learning rate (default: %(default)s)")
    parser.add_argument(
        "--transfer-weight", type=positive, default=-1.0, metavar="W", help=f"default: {WEIGHTS} by method"
    )
    options = Options(**vars(parser.parse_args(words)))
    if problem := conflict(options):
        parser.error(problem)
    return options


def conflict(options: Options) -> str:
    """What two options cannot have together; empty when they can."""
    if options.global_batch < 2 * options.accumulate:
        return f"--global-batch {options.global_batch} has fewer than 2 images for each of --accumulate's parts"
    if options.elastic and options.baseline:
        return "--baseline and --elastic exclude each other: train --method none as a run of its own"
    if options.elastic and options.dist not in ("auto", "horovod"):
        return f"--elastic is Horovod's, not --dist {options.dist}'s; torchrun restarts ranks, use --resume there"
    return "--weights is for --net resnet50" if options.weights and options.net != "resnet50" else ""
