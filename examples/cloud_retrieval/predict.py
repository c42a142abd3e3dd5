"""Predictions of an endpoint: a scene in, the planes of predictions.h5 out; or a granule in, the planes of its product.

See README.md and GRANULES.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from granules.forest_model import FILE as GRANULE_MODEL
from granules.forest_model import CloudModel
from serving import granule_model, saved_model
from serving.saved_model import SavedModel


def load(model_folder: str) -> SavedModel | CloudModel:
    """Return the model that one of the two jobs has written to its outputs."""
    folder = Path(model_folder)
    return granule_model.load(folder) if (folder / GRANULE_MODEL).exists() else saved_model.load(folder)


def predict(model: SavedModel | CloudModel, data: Any) -> dict[str, Any]:
    """Return one plane per name: for a scene (an HDF5 file, or its arrays by name), or an archive of a granule."""
    if isinstance(model, CloudModel):
        return granule_model.predict(model, data)
    return saved_model.predict(model, data)
