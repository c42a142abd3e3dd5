"""Context: maps of the first stage in the square around a pixel, as features of the second stage.

Maps are mirrored at the edges of a scene. A pixel's context reaches one pixel further than the features of the first
stage, which SceneSplit accounts for in the buffer around test tiles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retrieval import scenes
from retrieval.scenes import Scene
from retrieval.tasks import SceneSplit, block_features

from boosting.members import TARGETS, Stage

Wanted = NDArray[np.bool_]


def rows_with_margin(scene: Scene, split: SceneSplit, first: int, last: int) -> tuple[int, int]:
    """Return the range of rows whose maps the context of some rows uses."""
    reach = split.footprint.context
    return max(first - reach, 0), min(last + reach, scene.shape[0])


def surround(maps: NDArray[np.float32], rows: NDArray[np.intp], reach: int) -> NDArray[np.float32]:
    """Return the values in the square around each pixel, one line per pixel.

    :param maps: (targets, rows, columns) with margin.
    :param rows: index into ``maps`` of each row and of its neighbors, mirrored at the scene's edges.
    """
    padded = np.pad(maps[:, rows], ((0, 0), (0, 0), (reach, reach)), mode="reflect")
    width = 2 * reach + 1
    height, columns = len(rows) - 2 * reach, maps.shape[2]
    planes = [
        padded[index, down : down + height, right : right + columns].ravel()
        for index in range(len(maps))
        for down in range(width)
        for right in range(width)
    ]
    return np.column_stack(planes)


def map_rows(scene: Scene, split: SceneSplit, first: int, last: int) -> NDArray[np.intp]:
    """Return, for some rows and the margin around them, their index in maps of :func:`rows_with_margin`."""
    reach = split.footprint.context
    low, _ = rows_with_margin(scene, split, first, last)
    return scenes.mirror_indices(np.arange(first - reach, last + reach), scene.shape[0]) - low


def needed_pixels(wanted: Wanted, rows: NDArray[np.intp], count: int, reach: int) -> Wanted:
    """Return True where the context of a wanted pixel needs the maps; ``count`` rows as in ``rows``."""
    needed = np.zeros((count, wanted.shape[1]), dtype=bool)
    width = 2 * reach + 1
    padded = np.pad(wanted, ((0, 0), (reach, reach)))
    # The mirrored neighbor of an edge pixel is its neighbor on the other side, which is needed anyway.
    near = np.logical_or.reduce([padded[:, shift : shift + wanted.shape[1]] for shift in range(width)])
    for shift in range(width):
        np.logical_or.at(needed, rows[shift : shift + len(wanted)], near)
    return needed


def stage_maps(stage: Stage, table: NDArray[np.float32], needed: Wanted, group: int | None) -> NDArray[np.float32]:
    """Return the maps of a stage (targets, rows, columns), zero where they are not needed."""
    maps = np.zeros((len(TARGETS), needed.size), dtype=np.float32)
    flat = needed.ravel()
    maps[:, flat] = stage.predict(table[flat], group).T
    return maps.reshape(len(TARGETS), *needed.shape)


def whole_context(
    scene: Scene, split: SceneSplit, stage: Stage, first: int, last: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the features of some rows, and the context of their pixels, by all members."""
    low, high = rows_with_margin(scene, split, first, last)
    table = block_features(scene, split, low, high)
    columns = scene.shape[1]
    maps = stage_maps(stage, table, np.ones((high - low, columns), dtype=bool), None)
    around = surround(maps, map_rows(scene, split, first, last), split.footprint.context)
    return table[(first - low) * columns : (last - low) * columns], around


def held_out_context(
    scene: Scene, split: SceneSplit, stage: Stage, indices: NDArray[np.int64], groups: NDArray[np.int8]
) -> NDArray[np.float32]:
    """Return the context of sampled pixels, by the members that have not seen their tiles.

    :param indices: flat indices of the pixels, sorted; ``groups``: their tile groups.
    """
    columns = scene.shape[1]
    parts = []
    for first, last in scenes.row_ranges(scene.shape, split.blocks):
        start, end = np.searchsorted(indices, [first * columns, last * columns])
        in_block, block_groups = indices[start:end] - first * columns, groups[start:end]
        parts.append(block_context(scene, split, stage, (first, last), in_block, block_groups))
    return np.concatenate(parts)


def block_context(
    scene: Scene,
    split: SceneSplit,
    stage: Stage,
    row_range: tuple[int, int],
    indices: NDArray[np.int64],
    groups: NDArray[np.int8],
) -> NDArray[np.float32]:
    """Return the context of sampled pixels of one block of rows; maps are computed around them only."""
    (first, last), reach = row_range, split.footprint.context
    low, high = rows_with_margin(scene, split, first, last)
    rows = map_rows(scene, split, first, last)
    context = np.empty((len(indices), len(TARGETS) * (2 * reach + 1) ** 2), dtype=np.float32)
    table = block_features(scene, split, low, high) if len(indices) else np.empty((0, 0), np.float32)
    for group in np.unique(groups):
        in_group = groups == group
        wanted = np.zeros((last - first, scene.shape[1]), dtype=bool)
        wanted.ravel()[indices[in_group]] = True
        maps = stage_maps(stage, table, needed_pixels(wanted, rows, high - low, reach), int(group))
        context[in_group] = surround(maps, rows, reach)[indices[in_group]]
    return context
