"""Predictions of an endpoint: a scene in, the planes of predictions.h5 out. See README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving import saved_model
from serving.saved_model import SavedModel


def load(model_folder: str) -> SavedModel:
    """Return the model that the job has written to its outputs."""
    return saved_model.load(Path(model_folder))


def predict(model: SavedModel, data: Any) -> dict[str, Any]:
    """Return one plane per name for a scene: an HDF5 file, or its arrays by name."""
    return saved_model.predict(model, data)
