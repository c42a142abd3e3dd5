"""Predictions of an endpoint: images or columns in, class probabilities out. See README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptation.image_folders import DataError
from adaptation.networks import saved_network
from adaptation.networks.saved_network import SavedNetwork


def load(model_folder: str) -> SavedNetwork:
    """Return the network that the job has written to its outputs."""
    return saved_network.load(Path(model_folder) / "best.pt")


def predict(model: SavedNetwork, data: Any) -> Any:
    """Return a row of class probabilities for each image or column."""
    try:
        return saved_network.probabilities(model, data)
    except DataError as error:
        # A ValueError is answered as a mistake of the request.
        raise ValueError(str(error)) from error
