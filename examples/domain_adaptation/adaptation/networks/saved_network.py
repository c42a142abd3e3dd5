"""Predictions by best.pt: class probabilities for images, or for the columns of a radiometer."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adaptation import image_folders
from adaptation.image_folders import DataError
from adaptation.networks import models

TRAINING_ONLY = ("domain.", "condition.")


@dataclass(frozen=True)
class SavedNetwork:
    """The network of best.pt, and what its file tells about it.

    :param info: task, net, classes and image_size, with the weights.
    """

    net: Any
    info: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return [str(name) for name in self.info["classes"]]


def load(path: Path) -> SavedNetwork:
    """Return the network of a file that a run has written; it needs no GPU."""
    info = torch.load(path, map_location="cpu", weights_only=True)
    # Heads that only training uses differ between methods.
    weights = {name: value for name, value in info["weights"].items() if not name.startswith(TRAINING_ONLY)}
    net = build_network(info, weights)
    net.load_state_dict(net.state_dict() | weights)
    return SavedNetwork(net, info)


def build_network(info: dict[str, Any], weights: dict[str, Any]) -> Any:
    """Return a network of the same structure, with weights that are replaced afterwards."""
    count = len(info["classes"])
    if info["task"] == "images":
        return models.build_image_model(info["net"], count, seed=0)
    # The first part of each encoder scales as many inputs as its sensor has.
    scales = [f"{name}.0.running_mean" for name in ("features", "target_features")]
    samples = [torch.zeros(2, len(weights[name])) for name in scales if name in weights]
    return models.build_sensor_model(samples, count, seed=0)


def probabilities(saved: SavedNetwork, data: Any) -> NDArray[np.float32]:
    """Return a row of class probabilities for each image or column.

    :param data: images, bytes of (n, 3, size, size) or an image file; or columns, (n, values).
    :raises DataError: the data does not fit the network.
    """
    rows = image_rows(saved, data) if saved.info["task"] == "images" else column_rows(saved, data)
    with torch.no_grad():
        logits = saved.net["classifier"](models.target_encoder(saved.net)(models.normalize(rows)))
        return np.asarray(torch.softmax(logits, dim=1).numpy())


def image_rows(saved: SavedNetwork, data: Any) -> torch.Tensor:
    """Return images as a tensor of bytes."""
    size = int(saved.info["image_size"])
    if isinstance(data, bytes | bytearray):
        # PIL reads open files like paths.
        data = image_folders.read_image(io.BytesIO(data), size)[None]  # type: ignore[arg-type]
    images = np.asarray(data)
    if images.ndim != 4 or images.shape[1:] != (3, size, size):
        raise DataError(f"images have shape {images.shape}, expected (n, 3, {size}, {size})")
    if images.min(initial=0) < 0 or images.max(initial=0) > 255:
        raise DataError("images have values outside 0 to 255")
    return torch.from_numpy(np.ascontiguousarray(images, dtype=np.uint8))


def column_rows(saved: SavedNetwork, data: Any) -> torch.Tensor:
    """Return columns as a tensor."""
    columns = np.atleast_2d(np.asarray(data, dtype=np.float32))
    encoder = models.target_encoder(saved.net)
    width = len(encoder[0].running_mean)
    if columns.ndim != 2 or columns.shape[1] != width:
        raise DataError(f"columns have shape {columns.shape}, expected (n, {width})")
    return torch.from_numpy(columns)
