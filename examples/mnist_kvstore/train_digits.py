"""Train a small convolutional network on digits with MXNet's parameter server, on one machine or many.

    python train_digits.py --data data --out outputs

The launcher sets DMLC_* variables for the participating processes (job.ini: framework = mxnet); without them the
kvstore is local. Exit codes: 0 done; 1 the workers' weights differ; 2 unusable data or arguments.
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
from network import WEIGHTS, build_network


@dataclass(frozen=True)
class Options:
    """Options of the command line; ``batch`` is the total over all workers."""

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
        """Return every size-th digit.

        All workers get the same number of digits: with ``dist_sync`` a worker with an extra batch would wait forever.
        """
        count = len(self.labels) // size * size
        return Digits(self.images[rank:count:size], self.labels[rank:count:size])


def read_digits(folder: Path, images: str, labels: str) -> Digits:
    """Read two files of MNIST's format.

    :raises ValueError: if a file is missing or broken, or the files do not belong together.
    """
    pixels, classes = idx.read(folder, images), idx.read(folder, labels)
    if pixels.ndim != 3 or classes.shape != pixels.shape[:1] or not len(classes):
        raise ValueError(f"{folder}: {images} {pixels.shape} and {labels} {classes.shape} do not belong together")
    return Digits((pixels[:, None] / 255).astype(np.float32), classes.astype(np.float32))


def train(net: Any, kvstore: Any, shard: Digits, options: Options) -> None:
    """Run all epochs: the servers sum the gradients and update the weights, and the workers fetch them.

    With ``update_on_kvstore=False``, where each worker updates the weights itself, two workers of MXNet 1.9.1 ended
    with different weights in about half of the runs.
    """
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    # Momentum is kept on the servers, which apply the updates.
    settings = {"learning_rate": options.rate, "momentum": 0.9}
    trainer = gluon.Trainer(net.collect_params(), "sgd", settings, kvstore=kvstore, update_on_kvstore=True)
    worker_batch = max(options.batch // kvstore.num_workers, 1)
    for epoch in range(options.epochs):
        order = np.random.RandomState([options.seed, kvstore.rank, epoch]).permutation(len(shard.labels))
        total = 0.0
        for start in range(0, len(order) - worker_batch + 1, worker_batch):
            indices = order[start : start + worker_batch]
            images, labels = mx.nd.array(shard.images[indices]), mx.nd.array(shard.labels[indices])
            with autograd.record():
                loss = loss_function(net(images), labels)
            loss.backward()
            # The gradients of all workers are summed, so the step divides by the number of digits of all workers.
            trainer.step(worker_batch * kvstore.num_workers)
            total += float(loss.mean().asscalar())
        print(f"epoch {epoch + 1}/{options.epochs} loss {total / max(len(order) // worker_batch, 1):.4f}", flush=True)


def accuracy(net: Any, digits: Digits) -> float:
    """Return the fraction of digits that are classified correctly."""
    predicted = net(mx.nd.array(digits.images)).argmax(axis=1).asnumpy()
    return float((predicted == digits.labels).mean())


def weights_hash(net: Any) -> str:
    """Return the SHA-256 of all weights, in the order of the layers."""
    sha256 = hashlib.sha256()
    for parameter in net.collect_params().values():
        sha256.update(parameter.data().asnumpy().tobytes())
    return sha256.hexdigest()


def matches_servers(net: Any, kvstore: Any) -> bool:
    """Return True if the weights equal those on the servers bit for bit; if so on all workers, all workers agree."""
    parameters = net.collect_params()
    # gluon.Trainer numbers the parameters in the order of their names, and the kvstore's keys are these numbers.
    for key, name in enumerate(sorted(parameters)):
        parameter = parameters[name]
        server_weights = mx.nd.zeros(parameter.shape)
        kvstore.pull(key, out=server_weights)
        if not np.array_equal(server_weights.asnumpy(), parameter.data().asnumpy()):
            return False
    return True


def run(options: Options) -> int:
    """Train, evaluate, write ``metrics.json``; return the exit code."""
    training = read_digits(options.data, idx.TRAIN_IMAGES, idx.TRAIN_LABELS)
    testing = read_digits(options.data, idx.TEST_IMAGES, idx.TEST_LABELS)
    # DMLC_ROLE is set by MXNet's launcher; without it there are no servers to connect to.
    kvstore = mx.kvstore.create("dist_sync" if "DMLC_ROLE" in os.environ else "local")
    # All workers start from the same weights; the order of digits differs by rank (see train).
    mx.random.seed(options.seed)
    np.random.seed(options.seed)
    net = build_network()
    net.initialize(mx.init.Xavier())
    start = time.perf_counter()
    train(net, kvstore, training.shard(kvstore.rank, kvstore.num_workers), options)
    seconds = time.perf_counter() - start
    score, weights = accuracy(net, testing), weights_hash(net)
    agree = matches_servers(net, kvstore)
    metrics = {
        "headline": f"accuracy {score:.4f} on {len(testing.labels)} test digits, {kvstore.num_workers} workers",
        "accuracy": score,
        "test_digits": len(testing.labels),
        "image_shape": [*testing.images.shape[2:]],
        "training_digits": len(training.labels),
        "weights_sha256": weights,
        "weights_as_on_servers": agree,
        "versions": {"mxnet": mx.__version__, "numpy": np.__version__},
        "run": {"rank": kvstore.rank, "workers": kvstore.num_workers, "kvstore": kvstore.type, "seconds": seconds},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    # Every worker has the same weights.
    net.save_parameters(str(options.out / WEIGHTS))
    (options.out / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    print(metrics["headline"], flush=True)
    if not agree:
        print("the weights of this worker differ from those on the servers", file=sys.stderr)
    return 0 if agree else 1


def main() -> int:
    """Read the command line and run; return the exit code."""
    parser = argparse.ArgumentParser(prog="train_digits.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="MNIST's four files; see digits.py")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results")
    parser.add_argument("--epochs", type=int, default=15, metavar="N", help="passes over the data (default: 15)")
    parser.add_argument(
        "--batch", type=int, default=32, metavar="N", help="digits per step, over all workers (default: 32)"
    )
    parser.add_argument("--rate", type=float, default=0.03, metavar="X", help="learning rate (default: 0.03)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of weights and order (default: 1)")
    try:
        return run(Options(**vars(parser.parse_args())))
    except ValueError as error:
        print(f"train_digits.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
