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
from granules.caliop import Lidar
from granules.collocation import Matches, collocate
from granules.evaluation import Counts, Tally
from granules.file_names import Pair
from granules.forest_model import Model, Recipe, Rows, Target
from granules.l2_product import About, Under
from granules.viirs import Granule, Window


@dataclass(frozen=True)
class Limits:
    """How far apart two looks may be, in space and time, and whether index files are taken in place of a search."""

    km: float
    minutes: float
    indexed: bool


@dataclass(frozen=True)
class Info:
    """What is known of a granule after its collocation; ``kinds``: columns of each class (see caliop)."""

    key: str
    lines: int
    pixels: int
    profiles: int
    matched: int
    kinds: tuple[int, ...]
    mean_km: float
    mean_minutes: float
    synthetic: bool


@dataclass(frozen=True)
class Matched:
    """A granule's rows, what lies under the track, and index files by name."""

    info: Info
    rows: Rows
    under: Under
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Product:
    """Finished files of a granule by name, and SHA-256 of its predictions."""

    key: str
    files: Mapping[str, bytes]
    digest: str


@contextmanager
def at_hand(pair: Pair, wanted: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Files of a pair on this machine, by name; those of a bucket are staged whole and removed afterwards."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(scenes.local_copy(pair.root, name)) for name in wanted}


def label(pair: Pair, name: str) -> str:
    """How errors name a file: by host, where there are several, and address."""
    return f"{worker.host()}{pair.root.rstrip('/')}/{name}"


@contextmanager
def reading(pair: Pair, paths: Mapping[str, Path]) -> Iterator[Granule]:
    """The granule of a pair, open."""
    for name in paths:
        if not paths[name].is_file():
            raise SceneError(f"{label(pair, name)}: no such file")
    labels = [label(pair, name) for name in pair.swath]
    with viirs.opened(paths[pair.radiances], paths[pair.geolocation], label=labels[0], other=labels[1]) as granule:
        yield granule


def match(pair: Pair, limits: Limits) -> Matched:
    """Collocate a granule with its tracks and compute features of the matched pixels."""
    wanted = pair.files if limits.indexed else pair.observations
    with at_hand(pair, wanted) as paths, reading(pair, paths) as granule:
        parts = [one_track(pair, granule, paths, track, limits) for track in pair.tracks]
        rows = forest_model.joined([part[1] for part in parts])
        matches = [part[0] for part in parts]
        under = Under(
            np.concatenate([one.line for one in matches]), np.concatenate([one.pixel for one in matches]), rows.kind
        )
        files = {name: data for part in parts for name, data in part[2].items()}
        synthetic = granule.synthetic or any(part[3] for part in parts)
        info = summary(pair, granule, matches, rows.kind, synthetic)
        return Matched(info, rows, under, files)


def one_track(
    pair: Pair, granule: Granule, paths: Mapping[str, Path], track: str, limits: Limits
) -> tuple[Matches, Rows, dict[str, bytes], bool]:
    """Matches, rows and index file of one track, and whether it is synthetic."""
    lidar = caliop.read(paths[track], label=label(pair, track))
    name = file_names.index_name(track, pair.key)
    given = [index for index in pair.indices if file_names.bare(index) == name] if limits.indexed else []
    if given:
        matches = index_files.read(paths[given[0]], label=label(pair, given[0]), km=limits.km, minutes=limits.minutes)
        check_inside(label(pair, given[0]), matches, granule, lidar)
    else:
        matches = collocate(granule.swath(), lidar.track, km=limits.km, minutes=limits.minutes)
    rows = rows_of(granule, matches, lidar)
    sources = tuple(file_names.bare(source) for source in (track, pair.geolocation))
    return matches, rows, index_file(name, matches, granule, sources), lidar.synthetic


def check_inside(where: str, matches: Matches, granule: Granule, lidar: Lidar) -> None:
    """Raise SceneError when an index file speaks of other files than these."""
    if not len(matches):
        return
    beyond = matches.line.max() >= granule.shape[0] or matches.pixel.max() >= granule.shape[1]
    if beyond or matches.profiles != len(lidar.track.time):
        raise SceneError(
            f"{where}: made from another granule or track ({granule.shape[0]} x {granule.shape[1]} pixels and "
            f"{len(lidar.track.time)} profiles here)"
        )


def index_file(name: str, matches: Matches, granule: Granule, sources: tuple[str, ...]) -> dict[str, bytes]:
    """The finished index file of a track, none where nothing matched."""
    if not len(matches):
        return {}
    with worker.scratch() as folder:
        path = folder / name
        index_files.write(path, matches, granule, sources)
        return {name: path.read_bytes()}


def rows_of(granule: Granule, matches: Matches, lidar: Lidar) -> Rows:
    """Features and truth of matched pixels, in the order of the profiles.

    A few scans at a time and no wider than the track: the rest of the granule is not read.
    """
    table = np.empty((len(matches), len(features.NAMES)), np.float32)
    for first in range(0, granule.shape[0], l2_product.LINES_AT_ONCE):
        here = np.flatnonzero((matches.line >= first) & (matches.line < first + l2_product.LINES_AT_ONCE))
        if not len(here):
            continue
        line, pixel = matches.line[here], matches.pixel[here]
        window = Window(int(line.min()), int(line.max()) + 1, int(pixel.min()), int(pixel.max()) + 1)
        found = features.compute(granule, window)
        table[here] = found[(line - window.first) * window.shape[1] + pixel - window.left]
    columns = lidar.columns
    return Rows(table, columns.kind[matches.profile], columns.top[matches.profile])


def summary(pair: Pair, granule: Granule, matches: Sequence[Matches], kind: NDArray[np.int8], synthetic: bool) -> Info:
    """What the client learns of a collocation."""
    km = np.concatenate([one.km for one in matches])
    minutes = np.concatenate([one.minutes for one in matches])
    counts = np.bincount(kind, minlength=caliop.OTHER + 1)
    return Info(
        key=pair.key,
        lines=granule.shape[0],
        pixels=granule.shape[1],
        profiles=sum(one.profiles for one in matches),
        matched=len(km),
        kinds=tuple(int(count) for count in counts),
        mean_km=float(km.mean()) if len(km) else 0.0,
        mean_minutes=float(minutes.mean()) if len(km) else 0.0,
        synthetic=synthetic,
    )


def info_of(matched: Matched) -> Info:
    """The small part of a collocation, for the client."""
    return matched.info


def files_of(matched: Matched) -> Mapping[str, bytes]:
    """The index files of a collocation."""
    return matched.files


def assemble(parts: Sequence[Matched]) -> Rows:
    """One training table from the rows of several granules, in order."""
    return forest_model.joined([part.rows for part in parts])


def grow(rows: Rows, target: Target, recipe: Recipe, seeds: Sequence[int]) -> list[Any]:
    """Trees of one forest; see learn.grow."""
    return forest_model.grow(rows, target, recipe, seeds)


def merge(groups: Mapping[str, Sequence[list[Any]]]) -> Model:
    """The model, from groups of trees; see learn.merge."""
    return forest_model.merge(groups)


def describe(model: Model) -> tuple[str, int]:
    """Hash and number of nodes of a model."""
    return forest_model.digest(model), forest_model.nodes(model)


def judged(matched: Matched, model: Model, seed: int) -> tuple[Tally, Counts]:
    """Counts of a granule that the model has not seen."""
    return evaluation.judge(matched.rows, model, seed)


def mapped(pair: Pair, matched: Matched, model: Model) -> Product:
    """Predict a whole granule; its NetCDF file and picture."""
    about = About(
        pair.key,
        forest_model.digest(model),
        tuple(file_names.bare(name) for name in pair.swath),
        matched.info.synthetic,
    )
    with (
        at_hand(pair, pair.swath) as paths,
        reading(pair, paths) as granule,
        worker.scratch() as folder,
    ):
        product, picture = (folder / f"cloud_{pair.key}.{kind}" for kind in ("nc", "png"))
        digest, thin = l2_product.write(product, granule, model, about)
        l2_product.draw(picture, thin, matched.under, about)
        return Product(pair.key, {path.name: path.read_bytes() for path in (product, picture)}, digest)
