"""Options of the command line, with checks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from adaptation.dataset import VALIDATION_SHARE
from adaptation.distributed import BACKENDS
from adaptation.losses import DEFAULT_WEIGHTS, METHODS
from adaptation.networks.models import NETS


@dataclass(frozen=True)
class Options:
    """Options of one run; see ``train.py --help`` for their meaning."""

    data: Path
    out: Path
    task: str = "images"
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
    pair_weight: float = 10.0
    ramp: int = 300
    amp: bool = False
    checkpoint_every: int = 0
    resume: bool = False
    elastic: bool = False
    commit_every: int = 10
    threads: int = 0
    log_every: int = 20
    baseline: bool = False
    validation: float = VALIDATION_SHARE
    keep_aspect: bool = False
    augment: bool = False
    workers: int = 0
    backbone_rate: float = 0.1
    channels_last: bool = False
    tf32: bool = False
    compile: bool = False
    overlap: bool = False

    @property
    def weight(self) -> float:
        """Weight of the transfer loss: the option, or the method's default."""
        return DEFAULT_WEIGHTS[self.method] if self.transfer_weight < 0 else self.transfer_weight


#: Source and target of each task.
DOMAINS = {"images": ("amazon", "webcam"), "sensors": ("lidar", "radiometer")}
#: Name, minimum, help text.
INTEGER_OPTIONS = (
    ("epochs", 1, "passes over the source's rows, images or columns"),
    ("iters", 0, "iterations instead of epochs; 0: use --epochs"),
    ("global-batch", 2, "rows per iteration and domain, over all ranks"),
    ("accumulate", 1, "parts of a batch that are processed one after another, to save memory"),
    ("seed", 0, "seed of the initial weights, the validation split (columns: of granules' uses) and the order of rows"),
    ("image-size", 16, "pixels along a side that images are scaled to"),
    ("ramp", 1, "iterations over which the transfer loss grows to its weight"),
    ("checkpoint-every", 0, "iterations between checkpoints; 0: at the end only"),
    ("commit-every", 1, "elastic: iterations between commits, the maximum repeated after a lost rank"),
    ("workers", 0, "threads per rank that decode images when they are needed; 0: all images are held in memory"),
    ("threads", 0, "CPU threads per rank; 0: cores of the host divided by its ranks"),
    ("log-every", 1, "iterations between lines of progress"),
)
CHOICE_OPTIONS = (
    ("task", tuple(DOMAINS), "images in two domains, or columns observed by two sensors"),
    ("method", METHODS, "DeepCORAL, DAN (multi-kernel MMD), DANN, CDAN, MCC, or none: no alignment"),
    ("dist", ("auto", *BACKENDS), "communication between ranks; auto: as launched by horovodrun or torchrun"),
    ("device", ("auto", "cpu", "cuda"), "auto: the GPU with the rank's index on its host, if there is one"),
    ("net", NETS, "network for images; a ResNet needs --weights"),
    ("lr-scaling", ("none", "linear", "sqrt"), "scaling of the learning rate with the number of ranks"),
    (
        "transfer-scope",
        ("global", "local"),
        "coral, dan, mcc: over the images of all ranks, or each rank's own (a different objective)",
    ),
)
FLAG_OPTIONS = (
    ("keep-aspect", "scale images by their shorter side and keep the middle square, instead of stretching them"),
    ("augment", "random crops, with 7/8 of an image's side, and flips of training images"),
    ("amp", "mixed precision: float16 with loss scaling on GPUs, bfloat16 on CPUs"),
    ("channels-last", "images: channels as the innermost dimension in memory, for GPUs' tensor cores"),
    ("tf32", "GPUs: products of matrices in TF32, with 10 bits of mantissa"),
    ("compile", "compile the networks with torch.compile; on CPUs it needs a C++ compiler"),
    ("overlap", "several ranks: sum gradients during the backward pass"),
    ("resume", "continue from the checkpoint in --out, if there is one"),
    ("elastic", "continue when ranks come and go (automatic under an elastic horovodrun)"),
    ("baseline", "first train runs for comparison: source only; between sensors also with labels of the target"),
)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def whole_number(low: int) -> Callable[[str], int]:
    """Return a parser of integers from ``low``."""

    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= 10**9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low}")
        return int(text)

    return number


def positive(text: str) -> float:
    """Parse a number above 0."""
    if (value := parse_number(text)) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def non_negative(text: str) -> float:
    """Parse a number of at least 0."""
    if (value := parse_number(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def share_below_one(text: str) -> float:
    """Parse a number from 0 to less than 1."""
    if not 0 <= (value := parse_number(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to less than 1")
    return value


def parse_number(text: str) -> float:
    """Parse a number below 1e9; -1 if it is not one."""
    try:
        value = float(text)
    except ValueError:
        return -1.0
    return value if 0 <= value < 1e9 else -1.0


def parse(args: list[str] | None = None) -> Options:
    """Parse the command line; exits with code 2 on invalid arguments."""
    parser = build_parser()
    namespace = parser.parse_args(args)
    if namespace.task == "sensors" and (namespace.source or namespace.target):
        parser.error("--source and --target are for --task images")
    source, target = DOMAINS[namespace.task]
    namespace.source, namespace.target = namespace.source or source, namespace.target or target
    options = Options(**vars(namespace))
    if problem := find_conflict(options):
        parser.error(problem)
    return options


def build_parser() -> Parser:
    """Return the parser of the command line, with the defaults of :class:`Options`."""
    defaults = {name.replace("_", "-"): field.default for name, field in Options.__dataclass_fields__.items()}
    parser = Parser(prog="train.py", description="Domain adaptation of an image classifier, or between two sensors.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of domains, or of granules")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for results; created if missing")
    parser.add_argument("--source", metavar="DOMAIN", help="images: labeled domain (default: amazon)")
    parser.add_argument("--target", metavar="DOMAIN", help="images: domain to adapt to (default: webcam)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="ResNets: state dict in torchvision's layout")
    for name, minimum, text in INTEGER_OPTIONS:
        shown = f"{text} (default: {defaults[name]})"
        parser.add_argument(f"--{name}", type=whole_number(minimum), default=defaults[name], metavar="N", help=shown)
    for name, choices, text in CHOICE_OPTIONS:
        shown = f"{text} (default: {defaults[name]})"
        parser.add_argument(f"--{name}", choices=choices, default=defaults[name], help=shown)
    for name, text in FLAG_OPTIONS:
        parser.add_argument(f"--{name}", action="store_true", help=text)
    add_weights(parser, defaults)
    return parser


def add_weights(parser: Parser, defaults: dict[str, Any]) -> None:
    """Add the options that take any number above 0."""
    parser.add_argument("--lr", type=positive, default=defaults["lr"], help="learning rate (default: %(default)s)")
    # -1 stands for the default weight of the method (see Options.weight).
    transfer = f"default: {DEFAULT_WEIGHTS} by method"
    parser.add_argument("--transfer-weight", type=positive, default=-1.0, metavar="W", help=transfer)
    pair = "sensors: weight of the distance between both encoders' features (default: %(default)s; 0: no pairs)"
    parser.add_argument("--pair-weight", type=non_negative, default=defaults["pair-weight"], metavar="W", help=pair)
    share = (
        "share of the source images held out for the choice of best.pt (default: %(default)s; 0: best.pt is the last)"
    )
    parser.add_argument("--validation", type=share_below_one, default=VALIDATION_SHARE, metavar="X", help=share)
    backbone = "ResNets: rate of the pretrained layers relative to --lr (default: %(default)s)"
    parser.add_argument("--backbone-rate", type=positive, default=defaults["backbone-rate"], metavar="X", help=backbone)


def find_conflict(options: Options) -> str:
    """Return the conflict between two options in one line; empty if there is none."""
    # CORAL needs at least two rows for a covariance.
    if options.global_batch < 2 * options.accumulate:
        return f"--global-batch {options.global_batch} has fewer than 2 images for each of --accumulate's parts"
    if options.elastic and options.baseline:
        return "--baseline and --elastic cannot be combined: train --method none in a separate run"
    if options.elastic and options.dist not in ("auto", "horovod"):
        return f"--elastic needs Horovod, not --dist {options.dist}; torchrun restarts ranks, so use --resume there"
    return find_image_conflict(options)


def find_image_conflict(options: Options) -> str:
    """Return the conflict between options for images in one line; empty if there is none."""
    if options.task == "sensors":
        for name in ("net", "keep_aspect", "channels_last", "augment", "workers", "validation"):
            if (value := getattr(options, name)) != Options.__dataclass_fields__[name].default:
                return f"--{name.replace('_', '-')}{'' if value is True else f' {value}'} is for --task images"
    if options.net == "small":
        return "--weights is for --net resnet18 and resnet50" if options.weights else ""
    if not options.weights:
        # Batch normalization is frozen: with random weights its statistics are those of no image.
        return f"--net {options.net} needs pretrained weights: --weights FILE, a state dict in torchvision's layout"
    return "" if options.weights.is_file() else f"--weights {options.weights}: no such file"
