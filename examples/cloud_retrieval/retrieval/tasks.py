"""What runs on the workers. Each function depends on its arguments alone, so Dask may run it again elsewhere.

Scenes travel as names: a worker reads its own copy. What comes back is the sampled training rows (to other workers),
finished trees (likewise) and predictions (to the client).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True)
class SceneSplit:
    """How scenes are cut: footprint, blocks of rows, and, if pixels inside scenes are judged, fold and buffer.

    ``fold`` below zero: no pixel is kept back.
    """

    footprint: Footprint
    blocks: int
    fold: int
    buffer: int

    def roles(self, scene: Scene, first: int, last: int, turn: int) -> NDArray[np.uint8]:
        """The role of each pixel of some rows; ``turn`` moves the judged tiles on from scene to scene."""
        if self.fold < 0:
            return np.full((last - first, scene.shape[1]), train_test_split.TRAIN, dtype=np.uint8)
        return train_test_split.pixel_roles(scene.shape, first, last, fold=self.fold + turn, buffer=self.buffer)


@dataclass(frozen=True)
class SceneRef:
    """Which scene: the root as typed, the name below it, and its number in the order of all."""

    root: str
    name: str
    index: int


@dataclass(frozen=True)
class TrainingSample:
    """Training rows of one scene, with what was seen of the scene on the way."""

    info: SceneInfo
    features: NDArray[np.float32]
    cot: NDArray[np.float64]
    cer: NDArray[np.float64]


@dataclass(frozen=True)
class PredictionBlock:
    """Predictions for some rows of a scene, truth and role beside them; planes of (rows, columns)."""

    name: str
    first: int
    planes: dict[str, NDArray[Any]]


@contextmanager
def open_scene(place: SceneRef, needs: tuple[str, ...] = ()) -> Iterator[Scene]:
    """The scene, open; errors name this host when there are several."""
    with (
        scenes.local_copy(place.root, place.name) as path,
        scenes.open_scene(path, label=error_label(place, path), needs=needs) as scene,
    ):
        yield scene


def error_label(place: SceneRef, path: Path) -> str:
    """How errors name a scene: by its address if it was staged; with host and full path if there are many hosts."""
    if s3_staging.is_remote(place.root):
        return f"{worker.host_prefix()}{place.root.rstrip('/')}/{place.name}"
    return f"{worker.host_prefix()}{path.absolute()}" if worker.host_prefix() else str(path)


def inspect_scene(place: SceneRef, cut: SceneSplit) -> SceneInfo:
    """Check a scene that will only be judged; it may lack truth."""
    with open_scene(place) as scene:
        check_size(scene, cut)
        return scenes.inspect_scene(scene, place.name, blocks=cut.blocks)


def check_size(scene: Scene, cut: SceneSplit) -> None:
    """Raise SceneError when a scene is too small to be mirrored at its edges."""
    if min(scene.shape) <= cut.footprint.halo:
        raise SceneError(f"{scene.label}: {scene.shape[0]} x {scene.shape[1]} pixels are too few here")


def draw_sample(place: SceneRef, cut: SceneSplit, seed: int, quota: int) -> TrainingSample:
    """Check a scene and draw at most ``quota`` training pixels from it.

    Memory holds one block's features and the rows drawn so far, whatever the size of the scene.
    """
    with open_scene(place, scenes.TRUTH) as scene:
        check_size(scene, cut)
        info = scenes.inspect_scene(scene, place.name, blocks=cut.blocks)
        drawn = draw_pixels(scene, place, cut, seed, quota)
        if not len(drawn):
            raise SceneError(f"{scene.label}: no pixel is left to train on between judged tiles; hold scenes out")
        return TrainingSample(info, *compute_rows(scene, cut, drawn))


def draw_pixels(scene: Scene, place: SceneRef, cut: SceneSplit, seed: int, quota: int) -> NDArray[np.int64]:
    """Flat indices of the pixels drawn, sorted.

    Every pixel of the scene gets a random number, in order; the ``quota`` training pixels with the smallest
    ones are drawn. So the choice does not depend on how the scene is cut into blocks.
    """
    rng = np.random.default_rng(scene_seed(seed, place.name))
    keys, indices = np.empty(0), np.empty(0, dtype=np.int64)
    for first, last in scenes.row_ranges(scene.shape, cut.blocks):
        numbers = rng.random((last - first) * scene.shape[1])
        mine = np.flatnonzero(cut.roles(scene, first, last, place.index).ravel() == train_test_split.TRAIN)
        keys = np.concatenate([keys, numbers[mine]])
        indices = np.concatenate([indices, mine + first * scene.shape[1]])
        if len(keys) > quota:
            kept = np.argpartition(keys, quota)[:quota]
            keys, indices = keys[kept], indices[kept]
    return np.sort(indices)


def scene_seed(seed: int, name: str) -> int:
    """A scene's own seed: by name, so that another scene more or less changes nothing for this one."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def compute_rows(
    scene: Scene, cut: SceneSplit, drawn: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Features, COT and CER of the pixels drawn, computed block by block."""
    parts = []
    for first, last in scenes.row_ranges(scene.shape, cut.blocks):
        start = first * scene.shape[1]
        low, high = np.searchsorted(drawn, [start, last * scene.shape[1]])
        here = drawn[low:high] - start
        truth = [scene.truth_values(part, first, last).ravel()[here] for part in scenes.TRUTH]
        parts.append((block_features(scene, cut, first, last)[here], *truth))
    whole = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return whole[0], whole[1], whole[2]


def block_features(scene: Scene, cut: SceneSplit, first: int, last: int) -> NDArray[np.float32]:
    """Features of some rows of a scene."""
    bands = scene.reflectance(first, last, halo=cut.footprint.halo)
    return features.compute(bands, scene.geometry(), cut.footprint)


def summarize_sample(drawn: TrainingSample) -> tuple[SceneInfo, int, int, int]:
    """The small part of a sample, for the client: what was seen, rows drawn, cloudy ones, those of them with CER."""
    cloudy = np.isfinite(drawn.cot)
    return drawn.info, len(cloudy), int(cloudy.sum()), int((cloudy & np.isfinite(drawn.cer)).sum())


def build_table(samples: Sequence[TrainingSample]) -> TrainingTable:
    """One training table from all scenes' rows, in the order of the scenes."""
    columns = [np.concatenate([getattr(part, name) for part in samples]) for name in ("features", "cot", "cer")]
    return forest.build_table(*columns)


def fit_trees(table: TrainingTable, target: Target, recipe: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """Trees of one forest; see forest.grow."""
    return forest.fit_trees(table, target, recipe, seeds)


def merge_model(mask: Sequence[list[Any]], micro: Sequence[list[Any]], scale: tuple[float, float]) -> Model:
    """The model, from groups of trees in the order of their seeds."""
    whole = [forest.merge_forests([one for group in groups for one in group]) for groups in (mask, micro)]
    return Model(whole[0], whole[1], scale)


def target_scale(table: TrainingTable) -> tuple[float, float]:
    """The scale of the micro targets."""
    return table.scale


def describe_model(model: Model) -> tuple[str, int]:
    """Hash and number of nodes of a model."""
    return forest.digest(model), forest.node_count(model)


def predict_ranges(
    work: tuple[SceneRef, Sequence[tuple[int, int]]], cut: SceneSplit, model: Model
) -> list[PredictionBlock]:
    """Predictions for ranges of rows of one scene, one range in memory at a time."""
    place, ranges = work
    with open_scene(place) as scene:
        return [predict_block(scene, place, cut, model, span) for span in ranges]


def predict_block(
    scene: Scene, place: SceneRef, cut: SceneSplit, model: Model, span: tuple[int, int]
) -> PredictionBlock:
    """Predictions, truth and roles of one range of rows."""
    first, last = span
    shape = (last - first, scene.shape[1])
    names = ("cloud_mask_probability", "cloud_optical_thickness", "cloud_effective_radius")
    found = forest.predict(model, block_features(scene, cut, first, last))
    planes: dict[str, NDArray[Any]] = {name: values.reshape(shape) for name, values in zip(names, found, strict=True)}
    for part, name in zip(scenes.TRUTH, names[1:], strict=True):
        if part in scene.truth:
            planes[f"truth_{name}"] = scene.truth_values(part, first, last).astype(np.float32)
    if cut.fold >= 0:
        planes["role"] = cut.roles(scene, first, last, place.index)
    return PredictionBlock(place.name, first, planes)
