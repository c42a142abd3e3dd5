"""What runs on the workers. Each function depends on its arguments alone, so Dask may run it again elsewhere.

Granules travel as names: a worker reads its own copy, or stages one from a bucket, whole, and removes it afterwards.
What leaves a worker is the matched rows (to other workers), trees (likewise), counts and finished files (to the
client).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval import scenes, worker
from retrieval.scenes import SceneError

from granules import caliop, evaluation, features, file_names, forest_model, index_files, l2_product, viirs
from granules.caliop import LidarTrack
from granules.collocation import Matches, collocate
from granules.evaluation import Counts, EvaluationCounts
from granules.file_names import GranulePair
from granules.forest_model import CloudModel, ColumnRows, ForestSettings, Target
from granules.l2_product import ProductInfo, TrackTruth
from granules.viirs import Granule, Window


@dataclass(frozen=True)
class MatchLimits:
    """How far apart two looks may be, in space and time, and whether index files are taken in place of a search."""

    km: float
    minutes: float
    indexed: bool


@dataclass(frozen=True)
class GranuleInfo:
    """What is known of a granule after its collocation; ``kinds``: columns of each class (see caliop)."""

    key: str
    lines: int
    pixels: int
    profiles: int
    matched: int
    class_counts: tuple[int, ...]
    mean_km: float
    mean_minutes: float
    synthetic: bool


@dataclass(frozen=True)
class MatchedGranule:
    """A granule's rows, what lies under the track, and index files by name."""

    info: GranuleInfo
    rows: ColumnRows
    track_truth: TrackTruth
    index_files: Mapping[str, bytes]


@dataclass(frozen=True)
class GranuleProduct:
    """Finished files of a granule by name, and SHA-256 of its predictions."""

    key: str
    files: Mapping[str, bytes]
    digest: str


@contextmanager
def local_files(pair: GranulePair, wanted: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Files of a pair on this machine, by name; those of a bucket are staged whole and removed afterwards."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(scenes.local_copy(pair.root, name)) for name in wanted}


def error_label(pair: GranulePair, name: str) -> str:
    """How errors name a file: by host, where there are several, and address."""
    return f"{worker.host_prefix()}{pair.root.rstrip('/')}/{name}"


@contextmanager
def open_granule(pair: GranulePair, paths: Mapping[str, Path]) -> Iterator[Granule]:
    """The granule of a pair, open."""
    for name in paths:
        if not paths[name].is_file():
            raise SceneError(f"{error_label(pair, name)}: no such file")
    labels = [error_label(pair, name) for name in pair.swath_files]
    with viirs.open_granule(
        paths[pair.radiances], paths[pair.geolocation], label=labels[0], other=labels[1]
    ) as granule:
        yield granule


def match_granule(pair: GranulePair, limits: MatchLimits) -> MatchedGranule:
    """Collocate a granule with its tracks and compute features of the matched pixels."""
    wanted = pair.all_files if limits.indexed else pair.observation_files
    with local_files(pair, wanted) as paths, open_granule(pair, paths) as granule:
        parts = [match_track(pair, granule, paths, track, limits) for track in pair.tracks]
        rows = forest_model.concatenate([part[1] for part in parts])
        matches = [part[0] for part in parts]
        under = TrackTruth(
            np.concatenate([one.line for one in matches]),
            np.concatenate([one.pixel for one in matches]),
            rows.column_class,
        )
        files = {name: data for part in parts for name, data in part[2].items()}
        synthetic = granule.synthetic or any(part[3] for part in parts)
        info = summarize(pair, granule, matches, rows.column_class, synthetic)
        return MatchedGranule(info, rows, under, files)


def match_track(
    pair: GranulePair, granule: Granule, paths: Mapping[str, Path], track: str, limits: MatchLimits
) -> tuple[Matches, ColumnRows, dict[str, bytes], bool]:
    """Matches, rows and index file of one track, and whether it is synthetic."""
    lidar = caliop.read_track(paths[track], label=error_label(pair, track))
    name = file_names.index_file_name(track, pair.key)
    given = [index for index in pair.index_files if file_names.base_name(index) == name] if limits.indexed else []
    if given:
        matches = index_files.read_matches(
            paths[given[0]], label=error_label(pair, given[0]), km=limits.km, minutes=limits.minutes
        )
        check_index_bounds(error_label(pair, given[0]), matches, granule, lidar)
    else:
        matches = collocate(granule.swath(), lidar.track, km=limits.km, minutes=limits.minutes)
    rows = matched_rows(granule, matches, lidar)
    sources = tuple(file_names.base_name(source) for source in (track, pair.geolocation))
    return matches, rows, build_index_file(name, matches, granule, sources), lidar.synthetic


def check_index_bounds(where: str, matches: Matches, granule: Granule, lidar: LidarTrack) -> None:
    """Raise SceneError when an index file speaks of other files than these."""
    if not len(matches):
        return
    beyond = matches.line.max() >= granule.shape[0] or matches.pixel.max() >= granule.shape[1]
    if beyond or matches.profiles != len(lidar.track.time):
        raise SceneError(
            f"{where}: made from another granule or track ({granule.shape[0]} x {granule.shape[1]} pixels and "
            f"{len(lidar.track.time)} profiles here)"
        )


def build_index_file(name: str, matches: Matches, granule: Granule, sources: tuple[str, ...]) -> dict[str, bytes]:
    """The finished index file of a track, none where nothing matched."""
    if not len(matches):
        return {}
    with worker.scratch_folder() as folder:
        path = folder / name
        index_files.write_matches(path, matches, granule, sources)
        return {name: path.read_bytes()}


def matched_rows(granule: Granule, matches: Matches, lidar: LidarTrack) -> ColumnRows:
    """Features and truth of matched pixels, in the order of the profiles.

    A few scans at a time and no wider than the track: the rest of the granule is not read.
    """
    table = np.empty((len(matches), len(features.FEATURE_NAMES)), np.float32)
    for first in range(0, granule.shape[0], l2_product.LINES_AT_ONCE):
        here = np.flatnonzero((matches.line >= first) & (matches.line < first + l2_product.LINES_AT_ONCE))
        if not len(here):
            continue
        line, pixel = matches.line[here], matches.pixel[here]
        window = Window(int(line.min()), int(line.max()) + 1, int(pixel.min()), int(pixel.max()) + 1)
        found = features.compute(granule, window)
        table[here] = found[(line - window.first) * window.shape[1] + pixel - window.left]
    columns = lidar.columns
    return ColumnRows(table, columns.column_class[matches.profile], columns.top_km[matches.profile])


def summarize(
    pair: GranulePair, granule: Granule, matches: Sequence[Matches], kind: NDArray[np.int8], synthetic: bool
) -> GranuleInfo:
    """What the client learns of a collocation."""
    km = np.concatenate([one.km for one in matches])
    minutes = np.concatenate([one.minutes for one in matches])
    counts = np.bincount(kind, minlength=caliop.OTHER + 1)
    return GranuleInfo(
        key=pair.key,
        lines=granule.shape[0],
        pixels=granule.shape[1],
        profiles=sum(one.profiles for one in matches),
        matched=len(km),
        class_counts=tuple(int(count) for count in counts),
        mean_km=float(km.mean()) if len(km) else 0.0,
        mean_minutes=float(minutes.mean()) if len(km) else 0.0,
        synthetic=synthetic,
    )


def granule_info(matched: MatchedGranule) -> GranuleInfo:
    """The small part of a collocation, for the client."""
    return matched.info


def index_files_of(matched: MatchedGranule) -> Mapping[str, bytes]:
    """The index files of a collocation."""
    return matched.index_files


def training_rows(parts: Sequence[MatchedGranule]) -> ColumnRows:
    """One training table from the rows of several granules, in order."""
    return forest_model.concatenate([part.rows for part in parts])


def fit_trees(rows: ColumnRows, target: Target, recipe: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """Trees of one forest; see learn.grow."""
    return forest_model.fit_trees(rows, target, recipe, seeds)


def merge_model(groups: Mapping[str, Sequence[list[Any]]]) -> CloudModel:
    """The model, from groups of trees; see learn.merge."""
    return forest_model.merge_groups(groups)


def describe_model(model: CloudModel) -> tuple[str, int]:
    """Hash and number of nodes of a model."""
    return forest_model.digest(model), forest_model.node_count(model)


def evaluate_granule(matched: MatchedGranule, model: CloudModel, seed: int) -> tuple[EvaluationCounts, Counts]:
    """Counts of a granule that the model has not seen."""
    return evaluation.evaluate(matched.rows, model, seed)


def build_product(pair: GranulePair, matched: MatchedGranule, model: CloudModel) -> GranuleProduct:
    """Predict a whole granule; its NetCDF file and picture."""
    about = ProductInfo(
        pair.key,
        forest_model.digest(model),
        tuple(file_names.base_name(name) for name in pair.swath_files),
        matched.info.synthetic,
    )
    with (
        local_files(pair, pair.swath_files) as paths,
        open_granule(pair, paths) as granule,
        worker.scratch_folder() as folder,
    ):
        product, picture = (folder / f"cloud_{pair.key}.{kind}" for kind in ("nc", "png"))
        digest, thin = l2_product.write_product(product, granule, model, about)
        l2_product.draw_maps(picture, thin, matched.track_truth, about)
        return GranuleProduct(pair.key, {path.name: path.read_bytes() for path in (product, picture)}, digest)
