"""Functions that run on the workers. Each depends on its arguments alone, so Dask may repeat it on another worker.

Granules are passed by name: a worker reads its own copy, or stages one from a bucket, whole, and removes it afterwards.
The results are matched rows and trees (sent to other workers), and counts and finished files (sent to the client).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from columns import layers_5km, strata
from columns.layers_5km import JointColumns
from columns.strata import Stratum
from numpy.typing import NDArray
from retrieval import scenes, worker
from retrieval.scenes import SceneError

from granules import caliop, evaluation, features, file_names, forest_model, hdf_files, index_files, l2_product, viirs
from granules.caliop import LidarTrack
from granules.collocation import Matches, collocate
from granules.evaluation import Counts, EvaluationCounts
from granules.file_names import GranulePair
from granules.forest_model import CloudModel, ColumnRows, ForestSettings, Target
from granules.l2_product import ProductInfo, TrackTruth
from granules.viirs import Granule, Window


@dataclass(frozen=True)
class MatchLimits:
    """Maximum distance in space and time of a match, and whether index files replace the search."""

    km: float
    minutes: float
    indexed: bool


@dataclass(frozen=True)
class GranuleInfo:
    """Properties of a granule after its collocation; ``class_counts``: columns of each class (see caliop).

    ``origin_counts``: matched columns by origin of their class (see layers_5km); ``layer_tracks``: tracks with a 5 km
    product; ``snow_known``: matched columns whose surface the lidar product states; ``flagged_values``: values that
    quality flags exclude at matched pixels; ``misplaced_pixels``: pixels of the granule without valid geolocation;
    ``lines_without_time``.
    """

    key: str
    lines: int
    pixels: int
    profiles: int
    matched: int
    class_counts: tuple[int, ...]
    mean_km: float
    mean_minutes: float
    synthetic: bool
    origin_counts: tuple[int, ...]
    tracks: int
    layer_tracks: int
    snow_known: int
    flagged_values: int
    misplaced_pixels: int
    lines_without_time: int


@dataclass(frozen=True)
class TrackMatches:
    """Matches of one track with a granule, their rows and the origin of their classes, and the index file."""

    matches: Matches
    rows: ColumnRows
    origin: NDArray[np.int8]
    index_file: Mapping[str, bytes]
    synthetic: bool


@dataclass(frozen=True)
class MatchedGranule:
    """A granule's rows, the truth along the track, and index files by name."""

    info: GranuleInfo
    rows: ColumnRows
    track_truth: TrackTruth
    index_files: Mapping[str, bytes]


@dataclass(frozen=True)
class GranuleProduct:
    """Finished files of a granule by name, and the SHA-256 of its predictions."""

    key: str
    files: Mapping[str, bytes]
    digest: str


@contextmanager
def local_files(pair: GranulePair, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Provide files of a pair on this machine, by name; files of a bucket are staged whole and removed afterwards."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(scenes.local_copy(pair.root, name)) for name in names}


def error_label(pair: GranulePair, name: str) -> str:
    """Return the name of a file in error messages: host, if there are several, and address."""
    return f"{worker.host_prefix()}{pair.root.rstrip('/')}/{name}"


@contextmanager
def open_granule(pair: GranulePair, paths: Mapping[str, Path]) -> Iterator[Granule]:
    """Open the granule of a pair."""
    for name in paths:
        if not paths[name].is_file():
            raise SceneError(f"{error_label(pair, name)}: no such file")
    labels = [error_label(pair, name) for name in pair.swath_files]
    with viirs.open_granule(
        paths[pair.radiances], paths[pair.geolocation], label=labels[0], geolocation_label=labels[1]
    ) as granule:
        yield granule


@contextmanager
def open_checked(pair: GranulePair, paths: Mapping[str, Path]) -> Iterator[Granule]:
    """Open the granule of a pair, once all files of the pair are known to be readable.

    :raises SceneError: with a line for each file that is not.
    """
    lines = unreadable_files(pair, paths)
    if lines:
        raise SceneError("\n".join(lines))
    with open_granule(pair, paths) as granule:
        yield granule


def unreadable_files(pair: GranulePair, paths: Mapping[str, Path]) -> list[str]:
    """Return a line for each file of a pair that cannot be opened, or lacks what is read from it."""
    readers: dict[str, Callable[..., Any]] = dict.fromkeys(pair.swath_files, hdf_files.check_netcdf)
    readers |= dict.fromkeys(pair.tracks, caliop.read_track) | dict.fromkeys(pair.layers, layers_5km.read_product)
    lines = []
    for name, read in readers.items():
        try:
            read(paths[name], label=error_label(pair, name))
        except SceneError as error:
            lines.append(str(error))
    return lines


def match_granule(pair: GranulePair, limits: MatchLimits) -> MatchedGranule:
    """Collocate a granule with its tracks and compute the features of the matched pixels."""
    names = pair.all_files if limits.indexed else pair.observation_files
    with local_files(pair, names) as paths, open_checked(pair, paths) as granule:
        results = [match_track(pair, granule, paths, track, limits) for track in pair.tracks]
        rows = forest_model.concatenate([result.rows for result in results])
        track_truth = TrackTruth(
            np.concatenate([result.matches.line for result in results]),
            np.concatenate([result.matches.pixel for result in results]),
            rows.column_class,
        )
        files = {name: data for result in results for name, data in result.index_file.items()}
        return MatchedGranule(summarize(pair, granule, results, rows), rows, track_truth, files)


def match_track(
    pair: GranulePair, granule: Granule, paths: Mapping[str, Path], track: str, limits: MatchLimits
) -> TrackMatches:
    """Return matches, rows and index file of one track."""
    lidar = caliop.read_track(paths[track], label=error_label(pair, track))
    columns = read_columns(pair, paths, track, lidar)
    name = file_names.index_file_name(track, pair.key)
    index_names = [index for index in pair.index_files if file_names.base_name(index) == name] if limits.indexed else []
    if index_names:
        matches = index_files.read_matches(
            paths[index_names[0]], label=error_label(pair, index_names[0]), km=limits.km, minutes=limits.minutes
        )
        check_index_bounds(error_label(pair, index_names[0]), matches, granule, lidar)
    else:
        matches = collocate(granule.swath(), lidar.track, km=limits.km, minutes=limits.minutes)
    rows = matched_rows(granule, matches, columns, lidar.snow)
    sources = tuple(file_names.base_name(source) for source in (track, pair.geolocation))
    index_file = build_index_file(name, matches, granule, sources)
    return TrackMatches(matches, rows, columns.origin[matches.profile], index_file, lidar.synthetic)


def read_columns(pair: GranulePair, paths: Mapping[str, Path], track: str, lidar: LidarTrack) -> JointColumns:
    """Return the columns of a track, classified with its 5 km product if there is one."""
    layers = pair.layer_file(track)
    if layers is None:
        return layers_5km.use_one_km_only(lidar)
    return layers_5km.join(lidar, layers_5km.read_product(paths[layers], label=error_label(pair, layers)))


def check_index_bounds(label: str, matches: Matches, granule: Granule, lidar: LidarTrack) -> None:
    """Raise SceneError if an index file was made from other files than these."""
    if not len(matches):
        return
    beyond = matches.line.max() >= granule.shape[0] or matches.pixel.max() >= granule.shape[1]
    beyond |= matches.profile.max() >= matches.profiles
    if beyond or matches.profiles != len(lidar.track.time):
        raise SceneError(
            f"{label}: made from another granule or track ({granule.shape[0]} x {granule.shape[1]} pixels and "
            f"{len(lidar.track.time)} profiles here)"
        )


def build_index_file(name: str, matches: Matches, granule: Granule, sources: tuple[str, ...]) -> dict[str, bytes]:
    """Return the finished index file of a track; empty if nothing matched."""
    if not len(matches):
        return {}
    # The index file is small enough to be sent to the client as bytes.
    with worker.scratch_folder() as folder:
        path = folder / name
        index_files.write_matches(path, matches, granule, sources)
        return {name: path.read_bytes()}


def matched_rows(granule: Granule, matches: Matches, columns: JointColumns, snow: NDArray[np.int8]) -> ColumnRows:
    """Return features and truth of matched pixels, in the order of the profiles.

    Reads a few scans at a time and no wider than the track, not the rest of the granule.
    """
    # One window over the whole track would be nearly the whole granule, as the track crosses the swath at an angle.
    table = np.empty((len(matches), len(features.FEATURE_NAMES)), np.float32)
    for first in range(0, granule.shape[0], l2_product.LINES_AT_ONCE):
        selected = np.flatnonzero((matches.line >= first) & (matches.line < first + l2_product.LINES_AT_ONCE))
        if not len(selected):
            continue
        line, pixel = matches.line[selected], matches.pixel[selected]
        window = Window(int(line.min()), int(line.max()) + 1, int(pixel.min()), int(pixel.max()) + 1)
        values = features.compute(granule, window)
        table[selected] = values[(line - window.first) * window.shape[1] + pixel - window.left]
    rows = matches.profile
    truth = columns.truth
    return ColumnRows(table, truth.column_class[rows], truth.top_km[rows], columns.optical_depth[rows], snow[rows])


def summarize(pair: GranulePair, granule: Granule, results: Sequence[TrackMatches], rows: ColumnRows) -> GranuleInfo:
    """Return the properties of a collocation for the client."""
    matches = [result.matches for result in results]
    km = np.concatenate([track_matches.km for track_matches in matches])
    minutes = np.concatenate([track_matches.minutes for track_matches in matches])
    origins = np.concatenate([result.origin for result in results])
    return GranuleInfo(
        key=pair.key,
        lines=granule.shape[0],
        pixels=granule.shape[1],
        profiles=sum(track_matches.profiles for track_matches in matches),
        matched=len(km),
        class_counts=count_values(rows.column_class, caliop.OTHER + 1),
        mean_km=float(km.mean()) if len(km) else 0.0,
        mean_minutes=float(minutes.mean()) if len(km) else 0.0,
        synthetic=granule.synthetic or any(result.synthetic for result in results),
        origin_counts=count_values(origins, len(layers_5km.ORIGINS)),
        tracks=len(pair.tracks),
        layer_tracks=len(pair.layers),
        snow_known=int((rows.snow >= 0).sum()),
        flagged_values=sum(granule.count_flagged(part.line, part.pixel) for part in matches if len(part)),
        misplaced_pixels=granule.count_misplaced(),
        lines_without_time=int(np.isnan(granule.line_times()).sum()),
    )


def count_values(values: NDArray[np.int8], size: int) -> tuple[int, ...]:
    """Return how often each number below ``size`` occurs; zeros included, so that granules can be added."""
    return tuple(int(count) for count in np.bincount(values, minlength=size))


def granule_info(matched: MatchedGranule) -> GranuleInfo:
    """Return the small part of a collocation, for the client."""
    return matched.info


def index_files_of(matched: MatchedGranule) -> Mapping[str, bytes]:
    """Return the index files of a collocation."""
    return matched.index_files


def training_rows(parts: Sequence[MatchedGranule]) -> ColumnRows:
    """Concatenate the rows of several granules, in order."""
    return forest_model.concatenate([part.rows for part in parts])


def fit_trees(rows: ColumnRows, target: Target, settings: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """Train trees of one forest; see :func:`forest_model.fit_trees`."""
    return forest_model.fit_trees(rows, target, settings, seeds)


def merge_model(groups: Mapping[str, Sequence[list[Any]]]) -> CloudModel:
    """Merge groups of trees into the model; see :func:`forest_model.merge_groups`."""
    return forest_model.merge_groups(groups)


def describe_model(model: CloudModel) -> tuple[str, int]:
    """Return hash and number of nodes of a model."""
    return forest_model.digest(model), forest_model.node_count(model)


def evaluate_granule(
    matched: MatchedGranule, model: CloudModel, seed: int
) -> tuple[EvaluationCounts, Counts, dict[Stratum, EvaluationCounts]]:
    """Return counts of a granule for a model trained without it: of all columns, of features, and of each stratum."""
    counts, importance = evaluation.evaluate(matched.rows, model, seed)
    return counts, importance, strata.count_strata(matched.rows, model)


def build_product(pair: GranulePair, matched: MatchedGranule, model: CloudModel) -> GranuleProduct:
    """Predict a whole granule; return its NetCDF file and picture."""
    info = ProductInfo(
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
        product, *pictures = (folder / f"cloud_{pair.key}.{kind}" for kind in ("nc", "png", "pdf"))
        digest, preview = l2_product.write_product(product, granule, model, info)
        l2_product.draw_maps(pictures, preview, matched.track_truth, info)
        return GranuleProduct(pair.key, {path.name: path.read_bytes() for path in (product, *pictures)}, digest)
