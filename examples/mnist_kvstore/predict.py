"""Predictions of an endpoint: images of digits in, the probability of each digit out. See README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import network
from network import TrainedNetwork


def load(model_folder: str) -> TrainedNetwork:
    """Return the network that the job has written to its outputs."""
    return network.load(Path(model_folder))


def predict(model: TrainedNetwork, data: Any) -> Any:
    """Return a row of ten probabilities for each image: (n, rows, columns), or a line of pixels for each."""
    return network.probabilities(model, data)
