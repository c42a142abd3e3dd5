"""The product of a granule: cloud phase, mask and top height of every pixel as NetCDF with CF names, and a picture.

Written on the worker that holds the granule, a few scans at a time; what leaves the worker is the finished files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from granules import features, forest_model, hdf_files
from granules.caliop import CLASSES
from granules.forest_model import CloudModel, Prediction
from granules.viirs import Granule, Window

PIXELS_AT_ONCE = 100_000
LINES_AT_ONCE = 64
NOT_OBSERVED = -1
# A picture has at most so many pixels along a side.
MAX_PICTURE_PIXELS = 800


@dataclass(frozen=True)
class ProductInfo:
    """What a product says of itself: the granule's key, hash of the model, names of the files it came from, made up?"""

    key: str
    model_sha256: str
    sources: tuple[str, ...]
    synthetic: bool

    @property
    def title_suffix(self) -> str:
        """A line for titles."""
        return " - synthetic data" if self.synthetic else ""


@dataclass(frozen=True)
class Preview:
    """Every so-many-th pixel of a granule, for the picture, and the track's matched pixels with their true classes."""

    step: int
    planes: dict[str, NDArray[Any]]


def predict_lines(granule: Granule, model: CloudModel, lines: tuple[int, int]) -> tuple[Prediction, NDArray[np.bool_]]:
    """The answer for the observed pixels of some lines, and which these are."""
    table = features.compute(granule, Window(*lines, 0, granule.shape[1]))
    seen = np.isfinite(table[:, features.FEATURE_NAMES.index("M15")])
    table = table[seen]
    starts = range(0, max(len(table), 1), PIXELS_AT_ONCE)
    parts = [forest_model.predict(model, table[first : first + PIXELS_AT_ONCE], tops=False) for first in starts]
    return Prediction(
        np.concatenate([one.probabilities for one in parts]), np.concatenate([one.top_km for one in parts])
    ), seen


def write_product(path: Path, granule: Granule, model: CloudModel, about: ProductInfo) -> tuple[str, Preview]:
    """Predict a granule and write its product; SHA-256 of the predictions, and what the picture needs."""
    import netCDF4

    total = hashlib.sha256()
    step = -(-max(granule.shape) // MAX_PICTURE_PIXELS)
    at_once = step * -(-LINES_AT_ONCE // step)
    thin: dict[str, list[NDArray[Any]]] = {}
    with hdf_files.LIBRARY_LOCK:
        file = netCDF4.Dataset(path, "w")
    try:
        with hdf_files.LIBRARY_LOCK:
            planes = create_variables(file, granule, about)
        for first in range(0, granule.shape[0], at_once):
            lines = (first, min(first + at_once, granule.shape[0]))
            block = block_planes(granule, model, lines)
            chosen = first_observed_lines(block["cloud_phase"] != NOT_OBSERVED, step)
            for name, plane in block.items():
                if name not in ("latitude", "longitude"):
                    total.update(np.ascontiguousarray(plane).tobytes())
                thin.setdefault(name, []).append(plane[chosen, np.arange(0, plane.shape[1], step)])
                with hdf_files.LIBRARY_LOCK:
                    planes[name][lines[0] : lines[1]] = plane
    finally:
        with hdf_files.LIBRARY_LOCK:
            file.close()
    return total.hexdigest(), Preview(step, {name: np.concatenate(parts) for name, parts in thin.items()})


def first_observed_lines(seen: NDArray[np.bool_], step: int) -> NDArray[np.intp]:
    """For every ``step``-th pixel of every ``step`` lines the first observed line: a picture without stripes."""
    starts = np.arange(0, len(seen), step)
    columns = seen[:, ::step]
    return np.stack([start + columns[start : start + step].argmax(axis=0) for start in starts])


def block_planes(granule: Granule, model: CloudModel, lines: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """The product's planes of some lines."""
    answer, seen = predict_lines(granule, model, lines)
    window = Window(*lines, 0, granule.shape[1])
    cloud, top = (np.full(len(seen), np.nan, np.float32) for _ in range(2))
    kind = np.full(len(seen), NOT_OBSERVED, np.int8)
    cloud[seen], kind[seen], top[seen] = (
        answer.cloud_probability,
        answer.column_class,
        answer.top_km * np.float32(1000.0),
    )
    found: dict[str, NDArray[Any]] = {
        name: granule.scaled_values(granule.geolocation, f"geolocation_data/{name}", window)
        for name in ("latitude", "longitude")
    }
    flat: dict[str, NDArray[Any]] = {"cloud_probability": cloud, "cloud_phase": kind, "cloud_top_altitude": top}
    return found | {name: values.reshape(window.shape) for name, values in flat.items()}


def create_variables(file: Any, granule: Granule, about: ProductInfo) -> dict[str, Any]:
    """Dimensions, attributes and variables of a product, after the CF conventions (1.10)."""
    file.Conventions = "CF-1.10"
    file.title = f"cloud phase and cloud top altitude, granule {about.key}{about.title_suffix}"
    file.source = f"{', '.join(about.sources)}; random forests {about.model_sha256}"
    file.synthetic = np.int32(about.synthetic)
    file.model_sha256 = about.model_sha256
    for name in ("time_coverage_start", "time_coverage_end"):
        if name in granule.radiances.ncattrs():
            file.setncattr(name, granule.radiances.getncattr(name))
    for name, length in zip(("line", "pixel"), granule.shape, strict=True):
        file.createDimension(name, length)
    chances = {
        "units": "1",
        "long_name": "probability that the column holds cloud",
        "coordinates": "latitude longitude",
    }
    phase = {
        "long_name": "cloud phase of the column; mixed: layers of both phases",
        "flag_values": np.arange(len(CLASSES), dtype=np.int8),
        "flag_meanings": " ".join(CLASSES),
        "coordinates": "latitude longitude",
    }
    top = {"standard_name": "cloud_top_altitude", "units": "m", "coordinates": "latitude longitude"}
    return {
        "latitude": create_plane(file, "latitude", 4, standard_name="latitude", units="degrees_north"),
        "longitude": create_plane(file, "longitude", 4, standard_name="longitude", units="degrees_east"),
        "cloud_probability": create_plane(file, "cloud_probability", 3, **chances),
        "cloud_phase": create_plane(file, "cloud_phase", None, **phase),
        "cloud_top_altitude": create_plane(file, "cloud_top_altitude", 0, **top),
    }


def create_plane(file: Any, name: str, digits: int | None, **facts: Any) -> Any:
    """A compressed plane; ``digits``: decimal places that are kept, None: whole numbers."""
    whole = digits is None
    # No larger than what is written at once: a chunk that leaves the cache half full is packed twice.
    sides = [len(file.dimensions[side]) for side in ("line", "pixel")]
    made = file.createVariable(
        name,
        "i1" if whole else "f4",
        ("line", "pixel"),
        zlib=True,
        complevel=1,
        chunksizes=(min(sides[0], LINES_AT_ONCE), min(sides[1], 800)),
        least_significant_digit=digits,
        fill_value=np.int8(NOT_OBSERVED) if whole else np.float32(np.nan),
    )
    made.setncatts(facts)
    return made


# ---------------------------------------------------------------- the picture

INK, NO_DATA_COLOR = "#222222", "#dde1e6"
# Told apart by lightness as well as by hue: clear, water, ice, mixed.
PHASE_COLORS = ("#1b3a5c", "#f0a030", "#ffffff", "#8c1d40")


@dataclass(frozen=True)
class TrackTruth:
    """Matched pixels of the track: line, pixel, and the lidar's class."""

    line: NDArray[np.int32]
    pixel: NDArray[np.int32]
    column_class: NDArray[np.int8]


def draw_maps(path: Path, thin: Preview, under: TrackTruth, about: ProductInfo) -> None:
    """Phase, probability of cloud and top altitude of a granule, the track on each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = thin.planes["cloud_phase"].shape
    side = 4.6
    figure = Figure(figsize=(3 * side * max(width / height, 0.6) + 3.0, side + 1.35), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.05, right=0.94, top=0.85, bottom=0.12, wspace=0.38)
    draw_phase(axes[0], thin)
    draw_plane(axes[1], thin, "cloud_probability", ("Probability of cloud", "1", "Blues", 0.0, 1.0, 1.0))
    draw_plane(axes[2], thin, "cloud_top_altitude", ("Cloud top altitude", "km", "viridis", 0.0, 17.0, 1e-3))
    for axis in axes:
        axis.plot(under.pixel / thin.step, under.line / thin.step, color=INK, lw=2.6, solid_capstyle="butt")
        axis.plot(under.pixel / thin.step, under.line / thin.step, color="#ffffff", lw=0.8, ls=(0, (4, 3)))
        draw_graticule(axis, thin)
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="auto")
    draw_lidar_strip(axes[0], thin, under)
    figure.suptitle(
        f"VIIRS granule {about.key}, predicted by a model that has not seen it{about.title_suffix}",
        fontsize=12,
        y=0.965,
    )
    figure.savefig(path)


def draw_phase(axis: Any, thin: Preview) -> None:
    """Classes, with a legend below."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    shown = thin.planes["cloud_phase"].astype(float)
    colours = ListedColormap([NO_DATA_COLOR, *PHASE_COLORS])
    axis.imshow(shown, cmap=colours, vmin=-1.5, vmax=len(CLASSES) - 0.5, interpolation="nearest")
    patches = [
        Patch(facecolor=colour, edgecolor=INK, linewidth=0.5, label=name)
        for name, colour in (*zip(CLASSES, PHASE_COLORS, strict=True), ("not observed", NO_DATA_COLOR))
    ]
    axis.legend(
        handles=patches,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=5,
        frameon=False,
        fontsize=8,
        handlelength=1.0,
        columnspacing=0.9,
        handletextpad=0.4,
    )
    axis.set_title("Cloud phase", fontsize=11)


def draw_plane(axis: Any, thin: Preview, name: str, look: tuple[str, str, str, float, float, float]) -> None:
    """A plane with a colour scale; ``look``: title, unit, colours, range, factor."""
    title, unit, colours, low, high, factor = look
    axis.set_facecolor(NO_DATA_COLOR if name == "cloud_probability" else "#ffffff")
    shown = np.ma.masked_invalid(thin.planes[name] * factor)
    image = axis.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    beside = axis.inset_axes((1.02, 0.0, 0.04, 1.0))
    axis.figure.colorbar(image, cax=beside, label=f"{title.lower()} ({unit})")
    axis.set_title(title + (", clear pixels white" if factor != 1.0 else ""), fontsize=11)


def draw_graticule(axis: Any, thin: Preview) -> None:
    """Lines of latitude and longitude where these are known; with the date line or a pole inside, latitude only."""
    axis.set(xticks=[], yticks=[])
    for name, plus, minus in (("latitude", "N", "S"), ("longitude", "E", "W")):
        values = np.ma.masked_invalid(thin.planes[name])
        span = float(values.max() - values.min()) if values.count() else 0.0
        if not span or (name == "longitude" and span >= 120.0):
            continue
        step = next(size for size in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if span / size < 6 or size == 20.0)
        levels = np.arange(np.floor(values.min() / step), np.ceil(values.max() / step) + 1) * step
        lines = axis.contour(values, levels=levels, colors="#7a828a", linewidths=0.5, linestyles=":")
        labels = {level: f"{abs(level):g}\N{DEGREE SIGN}{plus if level >= 0 else minus}" for level in levels}
        axis.clabel(lines, fmt=labels, fontsize=7)


def draw_lidar_strip(axis: Any, thin: Preview, under: TrackTruth) -> None:
    """The lidar's classes beside the map, line by line: what the track says of the column under it."""
    if not len(under.line):
        return
    height = thin.planes["cloud_phase"].shape[0]
    column = np.full(height, np.nan)
    known = under.column_class < len(CLASSES)
    column[np.minimum(under.line[known] // thin.step, height - 1)] = under.column_class[known]
    from matplotlib.colors import ListedColormap

    beside = axis.inset_axes((1.02, 0.0, 0.05, 1.0))
    beside.imshow(
        column[:, None],
        cmap=ListedColormap(list(PHASE_COLORS)),
        vmin=-0.5,
        vmax=3.5,
        aspect="auto",
        interpolation="nearest",
    )
    beside.set(xticks=[], yticks=[])
    beside.set_xlabel("lidar", fontsize=8)
    beside.set_facecolor(NO_DATA_COLOR)
