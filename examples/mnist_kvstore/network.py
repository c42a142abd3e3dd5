"""The network: two convolutions and a dense layer, and predictions by one that was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import gluon

WEIGHTS = "digits.params"
"""Name of the file of its weights in the output folder."""


def build_network() -> Any:
    """Return the network without weights.

    There is no batch normalization, because its running averages would differ between workers.
    """
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(16, kernel_size=3, padding=1, activation="relu"),
        gluon.nn.MaxPool2D(2),
        gluon.nn.Conv2D(32, kernel_size=3, padding=1, activation="relu"),
        gluon.nn.MaxPool2D(2),
        gluon.nn.Dense(64, activation="relu"),
        gluon.nn.Dense(10),
    )
    return net


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, and the rows and columns of its images."""

    net: Any
    shape: tuple[int, int]


def load(folder: Path) -> TrainedNetwork:
    """Return the network of a run's outputs; of several workers, the first one's."""
    weights = min(folder.rglob(WEIGHTS))
    rows, columns = json.loads((weights.parent / "metrics.json").read_text())["image_shape"]
    net = build_network()
    net.load_parameters(str(weights))
    return TrainedNetwork(net, (rows, columns))


def probabilities(trained: TrainedNetwork, data: Any) -> np.ndarray:
    """Return a row of ten probabilities for each image.

    :param data: pixels from 0 to 255: (n, rows, columns), or a line of them for each image.
    :raises ValueError: the images have another size.
    """
    if isinstance(data, bytes | bytearray):
        raise ValueError("send the images as .npy, CSV or JSON")
    images, (rows, columns) = np.asarray(data, np.float64), trained.shape
    if images.shape[1:] not in ((rows, columns), (rows * columns,)):
        raise ValueError(f"images have shape {images.shape}, expected (n, {rows}, {columns})")
    pixels = (images.reshape(-1, 1, rows, columns) / 255).astype(np.float32)
    return np.asarray(mx.nd.softmax(trained.net(mx.nd.array(pixels))).asnumpy())
