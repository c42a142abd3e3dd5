"""Train a small convolutional network on digits with MXNet, over one machine or many, through its parameter server.

    python train_digits.py --data data --out outputs

The launcher says by DMLC_* variables who takes part (job.ini: framework = mxnet); without them the kvstore is local.
Exit codes: 0 done; 1 the workers' weights differ; 2 data or arguments that cannot be used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import idx
import mxnet as mx
import numpy as np
from mxnet import autograd, gluon


@dataclass(frozen=True)
class Options:
    """What the command line says; ``batch`` counts over all workers."""

    data: Path
    out: Path
    epochs: int
    batch: int
    rate: float
    seed: int


@dataclass(frozen=True)
class Digits:
    """Images (n, 1, rows, columns) from 0 to 1 and labels (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def shard(self, rank: int, size: int) -> Digits:
        """Return every size-th digit: all workers get as many, or one would wait for the others for ever."""
        kept = len(self.labels) // size * size
        return Digits(self.images[rank:kept:size], self.labels[rank:kept:size])


def read_digits(folder: Path, images: str, labels: str) -> Digits:
    """Read two files of MNIST's format.

    :raises ValueError: one is missing, broken, or they do not fit each other.
    """
    found, truth = idx.read(folder, images), idx.read(folder, labels)
    if found.ndim != 3 or truth.shape != found.shape[:1] or not len(truth):
        raise ValueError(f"{folder}: {images} {found.shape} and {labels} {truth.shape} do not fit each other")
    return Digits((found[:, None] / 255).astype(np.float32), truth.astype(np.float32))


def build_network() -> Any:
    """Two convolutions and a dense layer. No batch normalisation: its averages would differ from worker to worker."""
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(16, kernel_size=3, padding=1, activation="relu"),
        gluon.nn.MaxPool2D(2),
        gluon.nn.Conv2D(32, kernel_size=3, padding=1, activation="relu"),
        gluon.nn.MaxPool2D(2),
        gluon.nn.Dense(64, activation="relu"),
        gluon.nn.Dense(10),
    )
    net.initialize(mx.init.Xavier())
    return net


def train(net: Any, kvstore: Any, part: Digits, options: Options) -> None:
    """Run all epochs: the servers sum the gradients and make the step, and each worker takes the new weights.

    With ``update_on_kvstore=False``, where each worker makes the step itself, two workers of MXNet 1.9.1 ended with
    different weights in about half of the runs.
    """
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    settings = {"learning_rate": options.rate, "momentum": 0.9}
    trainer = gluon.Trainer(net.collect_params(), "sgd", settings, kvstore=kvstore, update_on_kvstore=True)
    each = max(options.batch // kvstore.num_workers, 1)
    for epoch in range(options.epochs):
        order = np.random.RandomState([options.seed, kvstore.rank, epoch]).permutation(len(part.labels))
        total = 0.0
        for start in range(0, len(order) - each + 1, each):
            chosen = order[start : start + each]
            images, labels = mx.nd.array(part.images[chosen]), mx.nd.array(part.labels[chosen])
            with autograd.record():
                loss = loss_of(net(images), labels)
            loss.backward()
            trainer.step(each * kvstore.num_workers)
            total += float(loss.mean().asscalar())
        print(f"epoch {epoch + 1}/{options.epochs} loss {total / max(len(order) // each, 1):.4f}", flush=True)


def accuracy(net: Any, judged: Digits) -> float:
    """Return the fraction of digits that are told right."""
    told = net(mx.nd.array(judged.images)).argmax(axis=1).asnumpy()
    return float((told == judged.labels).mean())


def weights_hash(net: Any) -> str:
    """Return the SHA-256 of all weights, in the order of the layers."""
    found = hashlib.sha256()
    for parameter in net.collect_params().values():
        found.update(parameter.data().asnumpy().tobytes())
    return found.hexdigest()


def matches_servers(net: Any, kvstore: Any) -> bool:
    """Whether the weights are, bit for bit, those that the servers hold: true on all workers, all hold the same."""
    parameters = net.collect_params()
    # The trainer counts them in the order of their names.
    for key, name in enumerate(sorted(parameters)):
        parameter = parameters[name]
        theirs = mx.nd.zeros(parameter.shape)
        kvstore.pull(key, out=theirs)
        if not np.array_equal(theirs.asnumpy(), parameter.data().asnumpy()):
            return False
    return True


def run(options: Options) -> int:
    """Train, judge, write ``metrics.json``; the exit code."""
    training = read_digits(options.data, idx.TRAIN_IMAGES, idx.TRAIN_LABELS)
    judged = read_digits(options.data, idx.TEST_IMAGES, idx.TEST_LABELS)
    kvstore = mx.kvstore.create("dist_sync" if "DMLC_ROLE" in os.environ else "local")
    mx.random.seed(options.seed)
    np.random.seed(options.seed)
    net = build_network()
    began = time.perf_counter()
    train(net, kvstore, training.shard(kvstore.rank, kvstore.num_workers), options)
    seconds = time.perf_counter() - began
    score, mine = accuracy(net, judged), weights_hash(net)
    agree = matches_servers(net, kvstore)
    metrics = {
        "headline": f"accuracy {score:.4f} on {len(judged.labels)} test digits, {kvstore.num_workers} workers",
        "accuracy": score,
        "test_digits": len(judged.labels),
        "training_digits": len(training.labels),
        "weights_sha256": mine,
        "weights_as_on_servers": agree,
        "versions": {"mxnet": mx.__version__, "numpy": np.__version__},
        "run": {"rank": kvstore.rank, "workers": kvstore.num_workers, "kvstore": kvstore.type, "seconds": seconds},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    print(metrics["headline"], flush=True)
    if not agree:
        print("this worker's weights are not those of the servers", file=sys.stderr)
    return 0 if agree else 1


def main() -> int:
    """Read the command line and run; the exit code."""
    parser = argparse.ArgumentParser(prog="train_digits.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="MNIST's four files; see digits.py")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results")
    parser.add_argument("--epochs", type=int, default=15, metavar="N", help="passes over the data (default: 15)")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="digits a step in all (default: 32)")
    parser.add_argument("--rate", type=float, default=0.03, metavar="X", help="learning rate (default: 0.03)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of weights and order (default: 1)")
    try:
        return run(Options(**vars(parser.parse_args())))
    except ValueError as error:
        print(f"train_digits.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
