"""Functions that run on the workers. Each depends on its arguments alone, so Dask may repeat it on another worker.

Scenes are passed by name: a worker reads its own copy. The results are sampled training rows (sent to other workers),
trained trees (likewise) and predictions (sent to the client).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import features, forest, s3_staging, scenes, train_test_split, worker
from retrieval.features import Footprint
from retrieval.forest import ForestSettings, Model, Target, TrainingTable
from retrieval.scenes import Scene, SceneError, SceneInfo

PREDICTED = ("cloud_mask_probability", "cloud_optical_thickness", "cloud_effective_radius")
Predictor = Callable[..., dict[str, NDArray[Any]]]
"""Function that returns one value per pixel and name for some rows. Its arguments are the scene, the split, the model,
first and last row, and which pixels are tested (None: truth is unknown).
"""


@dataclass(frozen=True)
class SceneSplit:
    """Division of scenes: footprint, blocks of rows, and fold and buffer for tests inside scenes.

    ``fold`` below zero: all pixels are training pixels.
    """

    footprint: Footprint
    blocks: int
    fold: int
    buffer: int

    def roles(self, scene: Scene, first: int, last: int, index: int) -> NDArray[np.uint8]:
        """Return the role of each pixel of some rows; the scene's ``index`` shifts the test tiles from scene to
        scene.
        """
        if self.fold < 0:
            return np.full((last - first, scene.shape[1]), train_test_split.TRAIN, dtype=np.uint8)
        return train_test_split.pixel_roles(scene.shape, first, last, fold=self.fold + index, buffer=self.buffer)


@dataclass(frozen=True)
class SceneRef:
    """A scene: the root as given by the user, the name below it, and its index among all scenes."""

    root: str
    name: str
    index: int


@dataclass(frozen=True)
class TrainingSample:
    """Training rows of one scene, with the properties of the scene and the flat indices of the pixels.

    ``available`` counts the training pixels of the scene, drawn or not.
    """

    info: SceneInfo
    features: NDArray[np.float32]
    cot: NDArray[np.float64]
    cer: NDArray[np.float64]
    indices: NDArray[np.int64]
    available: int


@dataclass(frozen=True)
class PredictionBlock:
    """Predictions for some rows of a scene, with truth and roles; planes of (rows, columns)."""

    name: str
    first: int
    planes: dict[str, NDArray[Any]]


@contextmanager
def open_scene(ref: SceneRef, needs: tuple[str, ...] = ()) -> Iterator[Scene]:
    """Open a scene; error messages name the host if there are several."""
    with (
        scenes.local_copy(ref.root, ref.name) as path,
        scenes.open_scene(path, label=error_label(ref, path), needs=needs) as scene,
    ):
        yield scene


def error_label(ref: SceneRef, path: Path) -> str:
    """Return the name of a scene in error messages: the URL if it was staged; host and full path on a cluster."""
    if s3_staging.is_remote(ref.root):
        return f"{worker.host_prefix()}{ref.root.rstrip('/')}/{ref.name}"
    return f"{worker.host_prefix()}{path.absolute()}" if worker.host_prefix() else str(path)


def inspect_scene(ref: SceneRef, split: SceneSplit) -> SceneInfo:
    """Check a scene that is used for testing only; it may lack truth."""
    with open_scene(ref) as scene:
        check_size(scene, split)
        return scenes.inspect_scene(scene, ref.name, blocks=split.blocks)


def check_size(scene: Scene, split: SceneSplit) -> None:
    """Raise SceneError if a scene is too small to be mirrored at its edges."""
    if min(scene.shape) <= split.footprint.reach:
        raise SceneError(
            f"{scene.label}: {scene.shape[0]} x {scene.shape[1]} pixels are too few for this neighbourhood"
        )


def draw_sample(ref: SceneRef, split: SceneSplit, seed: int, quota: int) -> TrainingSample:
    """Check a scene and draw at most ``quota`` training pixels from it.

    Memory holds the features of one block and the rows drawn so far, regardless of the size of the scene.
    """
    with open_scene(ref, scenes.TRUTH) as scene:
        check_size(scene, split)
        info = scenes.inspect_scene(scene, ref.name, blocks=split.blocks)
        indices, available = draw_pixels(scene, ref, split, seed, quota)
        if not len(indices):
            raise SceneError(f"{scene.label}: no training pixel is left between test tiles; use --held-out")
        return TrainingSample(info, *compute_rows(scene, split, indices), indices, available)


def draw_pixels(scene: Scene, ref: SceneRef, split: SceneSplit, seed: int, quota: int) -> tuple[NDArray[np.int64], int]:
    """Return the flat indices of the drawn pixels, sorted, and the number of training pixels.

    Every pixel of the scene gets a random number, in order; the ``quota`` training pixels with the smallest numbers are
    drawn. The choice therefore does not depend on the division of the scene into blocks.
    """
    # One generator for the whole scene, advanced block by block: the numbers do not depend on the block size.
    rng = np.random.default_rng(scene_seed(seed, ref.name))
    keys, indices, available = np.empty(0), np.empty(0, dtype=np.int64), 0
    for first, last in scenes.row_ranges(scene.shape, split.blocks):
        block_keys = rng.random((last - first) * scene.shape[1])
        training = np.flatnonzero(split.roles(scene, first, last, ref.index).ravel() == train_test_split.TRAIN)
        available += len(training)
        keys = np.concatenate([keys, block_keys[training]])
        indices = np.concatenate([indices, training + first * scene.shape[1]])
        if len(keys) > quota:
            smallest = np.argpartition(keys, quota)[:quota]
            keys, indices = keys[smallest], indices[smallest]
    return np.sort(indices), available


def scene_seed(seed: int, name: str) -> int:
    """Return the seed of a scene's sample.

    It is derived from the name, so that adding scenes does not change the sample of the others.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def compute_rows(
    scene: Scene, split: SceneSplit, indices: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return features, COT and CER of the drawn pixels, computed block by block."""
    parts = []
    for first, last in scenes.row_ranges(scene.shape, split.blocks):
        start = first * scene.shape[1]
        low, high = np.searchsorted(indices, [start, last * scene.shape[1]])
        in_block = indices[low:high] - start
        truth = [scene.truth_values(part, first, last).ravel()[in_block] for part in scenes.TRUTH]
        parts.append((block_features(scene, split, first, last, in_block), *truth))
    columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
    return columns[0], columns[1], columns[2]


def block_features(
    scene: Scene, split: SceneSplit, first: int, last: int, pixels: NDArray[np.intp] | slice = slice(None)
) -> NDArray[np.float32]:
    """Return the features of some rows of a scene, or of some of their pixels; see :func:`features.compute`."""
    bands = scene.reflectance(first, last, halo=split.footprint.halo)
    return features.compute(bands, scene.geometry(), split.footprint, pixels)


def summarize_sample(sample: TrainingSample) -> tuple[SceneInfo, int, int, int, int]:
    """Return the small part of a sample: scene info; numbers of rows, of cloudy rows, of cloudy rows with CER, and of
    training pixels that were left out.
    """
    cloudy = np.isfinite(sample.cot)
    with_cer = int((cloudy & np.isfinite(sample.cer)).sum())
    return sample.info, len(cloudy), int(cloudy.sum()), with_cer, sample.available - len(cloudy)


def build_table(samples: Sequence[TrainingSample]) -> TrainingTable:
    """Build one training table from the rows of all scenes, in the order of the scenes."""
    columns = [np.concatenate([getattr(part, name) for part in samples]) for name in ("features", "cot", "cer")]
    return forest.build_table(*columns)


def fit_trees(table: TrainingTable, target: Target, settings: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """Train trees of one forest; see :func:`forest.fit_trees`."""
    return forest.fit_trees(table, target, settings, seeds)


def merge_model(mask: Sequence[list[Any]], micro: Sequence[list[Any]], scale: tuple[float, float]) -> Model:
    """Merge groups of trees, in the order of their seeds, into the model."""
    forests = [forest.merge_forests([tree for group in groups for tree in group]) for groups in (mask, micro)]
    return Model(forests[0], forests[1], scale)


def target_scale(table: TrainingTable) -> tuple[float, float]:
    """Return the scale of the micro targets."""
    return table.scale


def describe_model(model: Model) -> tuple[str, int]:
    """Return hash and number of nodes of a model."""
    return forest.digest(model), forest.node_count(model)


def predict_ranges(
    item: tuple[SceneRef, Sequence[tuple[int, int]]], split: SceneSplit, model: Any, predict: Predictor
) -> list[PredictionBlock]:
    """Return predictions for ranges of rows of one scene, one range in memory at a time."""
    ref, ranges = item
    blocks = []
    with open_scene(ref) as scene:
        for row_range in ranges:
            values = predict(scene, split, model, row_range, tested_pixels(scene, ref, split, row_range))
            blocks.append(build_block(scene, ref, split, row_range, values))
    return blocks


def tested_pixels(
    scene: Scene, ref: SceneRef, split: SceneSplit, row_range: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """Return True for each test pixel of some rows; None if the truth of the scene is unknown."""
    if "cot" not in scene.truth:
        return None
    if split.fold < 0:
        return np.ones((row_range[1] - row_range[0]) * scene.shape[1], dtype=bool)
    return np.asarray(split.roles(scene, *row_range, ref.index).ravel() == train_test_split.TEST)


def predict_planes(
    scene: Scene, split: SceneSplit, model: Model, row_range: tuple[int, int], _: NDArray[np.bool_] | None
) -> dict[str, NDArray[Any]]:
    """Return the predictions of the forests for some rows."""
    predictions = forest.predict(model, block_features(scene, split, *row_range))
    return dict(zip(PREDICTED, predictions, strict=True))


def build_block(
    scene: Scene, ref: SceneRef, split: SceneSplit, row_range: tuple[int, int], values: dict[str, NDArray[Any]]
) -> PredictionBlock:
    """Return predictions, truth and roles of one range of rows."""
    first, last = row_range
    planes = {name: column.reshape(last - first, scene.shape[1]) for name, column in values.items()}
    for part, name in zip(scenes.TRUTH, PREDICTED[1:], strict=True):
        if part in scene.truth:
            planes[f"truth_{name}"] = scene.truth_values(part, first, last).astype(np.float32)
    for name, plane in zip(("reflectance_066", "reflectance_213"), scene.reflectance(first, last, halo=0), strict=True):
        planes[name] = plane.astype(np.float32)
    if split.fold >= 0:
        planes["role"] = split.roles(scene, first, last, ref.index)
    return PredictionBlock(ref.name, first, planes)
