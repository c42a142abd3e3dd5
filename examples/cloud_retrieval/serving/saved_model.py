"""model.pkl: a trained model with everything that predictions need, and predictions for one scene.

A pickle executes code when it is read: load files of your own runs only. Reading it takes the package versions that
metrics.json lists.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from boosting import tasks as boosting_tasks
from numpy.typing import NDArray
from retrieval import scenes, tasks
from retrieval.scenes import Scene, SceneError
from retrieval.tasks import Predictor, SceneSplit

FILE = "model.pkl"
PREDICTORS: dict[str, Predictor] = {"boosting": boosting_tasks.predict_planes, "trees": tasks.predict_planes}


@dataclass(frozen=True)
class SavedModel:
    """A trained model: ``kind`` is a key of :data:`PREDICTORS`, ``split`` tells the pixels that features use."""

    kind: str
    model: Any
    split: SceneSplit


def save(saved: SavedModel, folder: Path) -> None:
    """Write a model to the output folder; an interrupted run leaves no incomplete file."""
    part = folder / f"{FILE}.part"
    part.write_bytes(pickle.dumps(saved))
    part.replace(folder / FILE)


def load(folder: Path) -> SavedModel:
    """Return the model that a run has written to its output folder."""
    saved = pickle.loads((folder / FILE).read_bytes())
    if not isinstance(saved, SavedModel):
        raise SceneError(f"{folder / FILE}: not a model of this job")
    return saved


def predict(saved: SavedModel, scene: bytes | Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the planes of predictions.h5 for one scene, each (rows, columns).

    :param scene: content of a scene file, or its arrays by name: Reflectance, SZA, VZA, Surface_albedo.
    :raises SceneError: it is not a scene.
    """
    if isinstance(scene, Mapping):
        return predict_scene(saved, scene_of_arrays(scene))
    if not isinstance(scene, bytes | bytearray):
        raise SceneError("send a scene as an HDF5 file, or its arrays by name as JSON or .npz")
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        file.write(scene)
        file.flush()
        with scenes.open_scene(Path(file.name), label="scene", needs=()) as opened:
            return predict_scene(saved, opened)


def scene_of_arrays(arrays: Mapping[str, Any]) -> Scene:
    """Return a scene from its arrays by name."""
    datasets = {part: np.asarray(arrays[stem]) if stem in arrays else None for part, stem in scenes.STEMS.items()}
    scenes.check_layout("scene", datasets, ())
    present = {part: values for part, values in datasets.items() if values is not None}
    shape = present["reflectance"].shape
    return Scene("scene", present, (shape[1], shape[2]), synthetic=False)


def predict_scene(saved: SavedModel, scene: Scene) -> dict[str, NDArray[Any]]:
    """Return the planes of an open scene."""
    tasks.check_size(scene, saved.split)
    blocks = []
    for first, last in scenes.row_ranges(scene.shape, saved.split.blocks):
        scenes.check_values(scene, first, last)
        planes = PREDICTORS[saved.kind](scene, saved.split, saved.model, (first, last), None)
        blocks.append({name: values.reshape(last - first, scene.shape[1]) for name, values in planes.items()})
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
