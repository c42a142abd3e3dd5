"""Scenes: where they are stored, the required layout, and reading in blocks of rows.

A scene is an HDF5 file with ``Reflectance`` (2, rows, columns) at 0.66 and 2.13 um, ``Cloud_optical_thickness`` and
``CER`` (rows, columns; NaN where clear; um), and the scalars ``SZA``, ``VZA`` (degrees) and ``Surface_albedo``. Names
may carry the resolution, as in ``Cloud_optical_thickness_(100m resolution)``; the finest one is used. A root attribute
``synthetic`` marks a synthetic scene.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from retrieval import s3_staging

Plane = NDArray[np.float64]

STEMS = {
    "reflectance": "Reflectance",
    "cot": "Cloud_optical_thickness",
    "cer": "CER",
    "sza": "SZA",
    "vza": "VZA",
    "albedo": "Surface_albedo",
}
TRUTH = ("cot", "cer")
SCALAR_PARTS = ("sza", "vza", "albedo")
SUFFIXES = (".h5", ".hdf5", ".he5")
ROOT_VARIABLE = "CLOUD_RETRIEVAL_ROOT"
# Reflectance is a fraction; 3-D effects raise it above 1 (1.94 in the large-eddy scenes). Values outside this range are
# percentages, scaled integers or fill values.
PLAUSIBLE_REFLECTANCE = (-0.2, 5.0)
BLOCK_PIXELS, SMALL_SCENE_BLOCKS, FEWEST_ROWS = 65_536, 4, 32


class SceneError(ValueError):
    """Unusable input. The message is one line: the file and the problem."""


@dataclass(frozen=True)
class SceneSource:
    """Scenes of one folder or S3 prefix: ``root`` as given by the user, ``names`` relative to it, sorted."""

    root: str
    names: tuple[str, ...]

    @property
    def is_remote(self) -> bool:
        """True if scenes must be staged before they can be read."""
        return s3_staging.is_remote(self.root)

    def addresses(self) -> set[str]:
        """Return the full address of each scene, independent of how the root was given."""
        if self.is_remote:
            return {f"{self.root.rstrip('/')}/{name}" for name in self.names}
        # Symbolic links are resolved, so that a scene reached by two paths is recognized.
        return {str(resolve_path(self.root, name).resolve()) for name in self.names}


@dataclass(frozen=True)
class SceneInfo:
    """Properties of a scene that was read completely; ``cloudy`` counts pixels, -1 without truth.

    ``pixel_m`` is the width of a pixel in meters, 0 if the names of the datasets do not tell.
    """

    name: str
    rows: int
    columns: int
    cloudy: int
    synthetic: bool
    truth: tuple[str, ...]
    geometry: tuple[float, float, float]
    pixel_m: float = 0.0

    @property
    def pixels(self) -> int:
        """Number of pixels in the scene."""
        return self.rows * self.columns


def find_scenes(where: str, *, match: str = "*") -> SceneSource:
    """Return the scenes at ``where``: a folder (searched recursively), one file, or ``s3://bucket/prefix``.

    :param match: shell pattern for file names.
    :raises SceneError: if the location does not exist or has no scene.
    """
    if s3_staging.is_remote(where):
        with s3_staging.translate_errors(where, SceneError):
            entries = s3_staging.list_keys(where)
        return SceneSource(where, select_names(entries, match, where))
    path = resolve_path(where, "")
    if path.is_file():
        return SceneSource(str(Path(where).parent), (path.name,))
    if not path.is_dir():
        raise SceneError(f"{where}: no such folder or file; synthesize.py creates sample scenes")
    entries = [str(entry.relative_to(path).as_posix()) for entry in path.rglob("*") if entry.is_file()]
    return SceneSource(where, select_names(entries, match, where))


def select_names(names: list[str], match: str, where: str) -> tuple[str, ...]:
    """Return the scene files among ``names``, by suffix and pattern, sorted; hidden files are left out."""
    selected = [name for name in names if is_scene_name(name) and fnmatch(name.rsplit("/", 1)[-1], match)]
    if not selected:
        raise SceneError(f"{where}: no scene found ({', '.join(SUFFIXES)} files that match {match!r})")
    return tuple(sorted(selected))


def is_scene_name(name: str) -> bool:
    """Return True if a relative path has the name of a scene file."""
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def resolve_path(root: str, name: str) -> Path:
    """Return the path of a scene on this machine.

    A relative root is resolved against the folder named by CLOUD_RETRIEVAL_ROOT, or the working directory: the absolute
    path of the data may differ between hosts.
    """
    return Path(os.environ.get(ROOT_VARIABLE, "")) / root / name


@contextmanager
def local_copy(root: str, name: str) -> Iterator[Path]:
    """Provide a scene as a local file; a remote scene is staged whole to scratch and removed afterwards.

    It is staged whole because HDF5 reads in many small pieces, each of which would be one request.
    """
    if not s3_staging.is_remote(root):
        yield resolve_path(root, name)
        return
    with ExitStack() as stack:
        with s3_staging.translate_errors(f"{root.rstrip('/')}/{name}", SceneError):
            path = stack.enter_context(s3_staging.staged_file(root, name))
        yield path


@dataclass(frozen=True)
class Scene:
    """An open scene; rows are read on demand."""

    label: str
    datasets: Mapping[str, Any]
    shape: tuple[int, int]
    synthetic: bool

    @property
    def truth(self) -> tuple[str, ...]:
        """Names of the truth planes in the file: cot, cer or both."""
        return tuple(part for part in TRUTH if part in self.datasets)

    def reflectance(self, first: int, last: int, *, halo: int) -> Plane:
        """Return reflectances of rows ``first`` to ``last`` with ``halo`` more rows on each side, mirrored at the
        edges.
        """
        rows = mirror_indices(np.arange(first - halo, last + halo), self.shape[0])
        # h5py cannot select repeated or descending rows, which mirroring needs, so the selection is made in memory.
        low, high = int(rows.min()), int(rows.max()) + 1
        return np.asarray(self.datasets["reflectance"][:, low:high, :], dtype=np.float64)[:, rows - low]

    def truth_values(self, part: str, first: int, last: int) -> Plane:
        """Return truth of rows ``first`` to ``last``: COT (1) or CER (um); NaN where clear or unknown."""
        if part not in self.datasets:
            return np.full((last - first, self.shape[1]), np.nan)
        values = np.asarray(self.datasets[part][first:last], dtype=np.float64)
        # Some files write 0 instead of NaN for clear pixels.
        return np.where(np.isfinite(values) & (values > 0.0), values, np.nan)

    def geometry(self) -> tuple[float, float, float]:
        """Return solar and viewing zenith angle (degrees) and surface albedo."""
        sza, vza, albedo = (float(np.asarray(self.datasets[part]).ravel()[0]) for part in SCALAR_PARTS)
        return sza, vza, albedo


def mirror_indices(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Fold indices into 0 .. size - 1 by reflection about the first and last element."""
    folded = np.abs(index) % (2 * size - 2)
    return np.asarray(np.minimum(folded, 2 * size - 2 - folded))


@contextmanager
def open_scene(path: Path, *, label: str, needs: tuple[str, ...] = TRUTH) -> Iterator[Scene]:
    """Open a scene and check names, shapes and types (values are checked by :func:`inspect_scene`).

    :param label: name of the file in error messages.
    :param needs: required truth planes.
    :raises SceneError: if the file is missing, unreadable, or does not have the layout of a scene.
    """
    if not path.is_file():
        raise SceneError(f"{label}: no such file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SceneError(f"{label}: not a readable HDF5 file ({str(error).splitlines()[0]})") from error
    with file:
        datasets = {part: find_dataset(file, stem) for part, stem in STEMS.items()}
        check_layout(label, datasets, needs)
        present = {part: dataset for part, dataset in datasets.items() if dataset is not None}
        shape = present["reflectance"].shape
        yield Scene(label, present, (shape[1], shape[2]), bool(file.attrs.get("synthetic", False)))


def find_dataset(file: Any, stem: str) -> Any:
    """Return the dataset called ``stem``, with or without a resolution in meters as suffix; the finest one, or None."""
    resolutions = ((resolution_m(name, stem), name) for name in file if isinstance(file[name], h5py.Dataset))
    candidates = [(resolution, name) for resolution, name in resolutions if resolution is not None]
    return file[min(candidates)[1]] if candidates else None


def resolution_m(name: str, stem: str) -> float | None:
    """Return the resolution in meters that a dataset's name carries, 0 without one; None if it is not ``stem``."""
    pattern = re.compile(rf"{stem}(?:[ _]*\(?(\d+(?:\.\d+)?) ?(k?)m(?:[ _]resolution)?\)?)?", re.IGNORECASE)
    parsed = pattern.fullmatch(name)
    return float(parsed[1] or 0) * (1000.0 if parsed[2] else 1.0) if parsed else None


def check_layout(label: str, datasets: Mapping[str, Any], needs: tuple[str, ...]) -> None:
    """Raise SceneError on the first missing dataset, wrong shape or wrong type."""
    for part, stem in STEMS.items():
        if datasets[part] is None and (part not in TRUTH or part in needs):
            raise SceneError(f"{label}: no dataset {stem} (--match 'LES_*' leaves other files out)")
        if datasets[part] is not None and datasets[part].dtype.kind not in "fiu":
            raise SceneError(f"{label}: {stem} holds {datasets[part].dtype}, not numbers")
    shape = datasets["reflectance"].shape
    if len(shape) != 3 or shape[0] != 2 or min(shape) < 2:
        raise SceneError(f"{label}: Reflectance has shape {shape}, not (2, rows, columns)")
    for part in TRUTH:
        if datasets[part] is not None and datasets[part].shape != shape[1:]:
            raise SceneError(f"{label}: {STEMS[part]} has shape {datasets[part].shape}, Reflectance {shape}")
    for part in SCALAR_PARTS:
        if datasets[part].size != 1 or not np.isfinite(np.asarray(datasets[part], dtype=float)).all():
            raise SceneError(f"{label}: {STEMS[part]} is not one finite number")


def inspect_scene(scene: Scene, name: str, *, blocks: int) -> SceneInfo:
    """Read a whole scene once, block by block, and check every value.

    :raises SceneError: if a reflectance is not finite or not a fraction.
    """
    cloudy = 0
    for first, last in row_ranges(scene.shape, blocks):
        check_values(scene, first, last)
        cloudy += int(np.isfinite(scene.truth_values("cot", first, last)).sum())
    count = cloudy if "cot" in scene.truth else -1
    pixel_m = resolution_m(scene.datasets["reflectance"].name.removeprefix("/"), STEMS["reflectance"]) or 0.0
    return SceneInfo(name, *scene.shape, count, scene.synthetic, scene.truth, scene.geometry(), pixel_m)


def check_values(scene: Scene, first: int, last: int) -> None:
    """Raise SceneError if rows have an impossible reflectance."""
    values = scene.reflectance(first, last, halo=0)
    invalid = ~np.isfinite(values)
    if invalid.any():
        band, row, column = (int(index[0]) for index in np.nonzero(invalid))
        where = f"first at band {band}, row {row + first}, column {column}"
        raise SceneError(f"{scene.label}: Reflectance is not finite at {int(invalid.sum())} pixels, {where}")
    low, high = float(values.min()), float(values.max())
    if low < PLAUSIBLE_REFLECTANCE[0] or high > PLAUSIBLE_REFLECTANCE[1]:
        raise SceneError(f"{scene.label}: Reflectance ranges from {low:g} to {high:g}, expected 0 to about 2")


def prediction_blocks(shape: tuple[int, int]) -> int:
    """Return the number of blocks for predictions: parts of about 65,536 pixels, but several also of a small scene.

    A single block would leave all workers but one idle. Each block repeats work on the rows around it, so blocks are
    not made lower than ``FEWEST_ROWS``.
    """
    rows, columns = shape
    return max(-(-rows * columns // BLOCK_PIXELS), min(SMALL_SCENE_BLOCKS, rows // FEWEST_ROWS), 1)


def row_ranges(shape: tuple[int, int], blocks: int) -> list[tuple[int, int]]:
    """Return row ranges that divide a scene into ``blocks`` parts; 0: parts of about 65,536 pixels."""
    rows, columns = shape
    # Never more blocks than rows.
    count = min(blocks or -(-rows * columns // BLOCK_PIXELS), rows)
    edges = [rows * part // count for part in range(count + 1)]
    return list(pairwise(edges))
