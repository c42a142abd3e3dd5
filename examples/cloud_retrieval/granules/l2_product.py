"""The level-2 product of a granule: cloud phase, mask and top height of every pixel as NetCDF with CF names; a picture.

It is written by the worker that holds the granule, a few scans at a time; only the finished files leave the worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from granules import features, forest_model, hdf_files
from granules.caliop import CLASSES, CLEAR
from granules.forest_model import CloudModel, Prediction
from granules.viirs import Granule, Window

PIXELS_AT_ONCE = 100_000
LINES_AT_ONCE = 64
NOT_OBSERVED = -1
# Pictures of larger granules are subsampled.
MAX_PICTURE_PIXELS = 800


@dataclass(frozen=True)
class ProductInfo:
    """Metadata of a product: the granule's key, hash of the model, names of the input files, True if synthetic."""

    key: str
    model_sha256: str
    sources: tuple[str, ...]
    synthetic: bool

    @property
    def title_suffix(self) -> str:
        """Suffix for titles that marks synthetic data."""
        return " - synthetic data" if self.synthetic else ""


@dataclass(frozen=True)
class Preview:
    """Every ``step``-th pixel of a granule, for the picture."""

    step: int
    planes: dict[str, NDArray[Any]]


def predict_lines(granule: Granule, model: CloudModel, lines: tuple[int, int]) -> tuple[Prediction, NDArray[np.bool_]]:
    """Return the predictions for the observed pixels of some lines, and the mask of these pixels."""
    table = features.compute(granule, Window(*lines, 0, granule.shape[1]))
    # M15 exists by day and by night; trimmed pixels lack it.
    observed = np.isfinite(table[:, features.FEATURE_NAMES.index("M15")])
    table = table[observed]
    starts = range(0, max(len(table), 1), PIXELS_AT_ONCE)
    parts = [forest_model.predict(model, table[first : first + PIXELS_AT_ONCE], tops=False) for first in starts]
    return Prediction(
        np.concatenate([part.probabilities for part in parts]), np.concatenate([part.top_km for part in parts])
    ), observed


def write_product(path: Path, granule: Granule, model: CloudModel, info: ProductInfo) -> tuple[str, Preview]:
    """Predict a granule and write its product; return the SHA-256 of the predictions, and the data for the picture."""
    import netCDF4

    sha256 = hashlib.sha256()
    # Rounded up, so that the longer side never exceeds the limit.
    step = -(-max(granule.shape) // MAX_PICTURE_PIXELS)
    # A multiple of the step: first_observed_lines needs whole groups of lines.
    lines_per_block = step * -(-LINES_AT_ONCE // step)
    preview: dict[str, list[NDArray[Any]]] = {}
    with hdf_files.LIBRARY_LOCK:
        file = netCDF4.Dataset(path, "w")
    try:
        with hdf_files.LIBRARY_LOCK:
            planes = create_variables(file, granule, info)
        for first in range(0, granule.shape[0], lines_per_block):
            lines = (first, min(first + lines_per_block, granule.shape[0]))
            block = block_planes(granule, model, lines)
            line_indices = first_observed_lines(block["cloud_phase"] != NOT_OBSERVED, step)
            for name, plane in block.items():
                # Coordinates are copied from the input and are not part of the prediction.
                if name not in ("latitude", "longitude"):
                    sha256.update(np.ascontiguousarray(plane).tobytes())
                preview.setdefault(name, []).append(plane[line_indices, np.arange(0, plane.shape[1], step)])
                with hdf_files.LIBRARY_LOCK:
                    planes[name][lines[0] : lines[1]] = plane
    finally:
        with hdf_files.LIBRARY_LOCK:
            file.close()
    return sha256.hexdigest(), Preview(step, {name: np.concatenate(parts) for name, parts in preview.items()})


def first_observed_lines(observed: NDArray[np.bool_], step: int) -> NDArray[np.intp]:
    """Return the first observed line for every ``step``-th pixel of every ``step`` lines; trimmed lines do not show."""
    starts = np.arange(0, len(observed), step)
    columns = observed[:, ::step]
    return np.stack([start + columns[start : start + step].argmax(axis=0) for start in starts])


def block_planes(granule: Granule, model: CloudModel, lines: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Return the product's planes of some lines."""
    prediction, observed = predict_lines(granule, model, lines)
    window = Window(*lines, 0, granule.shape[1])
    probability, top = (np.full(len(observed), np.nan, np.float32) for _ in range(2))
    phase = np.full(len(observed), NOT_OBSERVED, np.int8)
    probability[observed], phase[observed], top[observed] = (
        prediction.cloud_probability,
        prediction.column_class,
        prediction.top_km * np.float32(1000.0),
    )
    coordinates: dict[str, NDArray[Any]] = {
        name: granule.coordinates(name, window) for name in ("latitude", "longitude")
    }
    flat: dict[str, NDArray[Any]] = {"cloud_probability": probability, "cloud_phase": phase, "cloud_top_altitude": top}
    return coordinates | {name: values.reshape(window.shape) for name, values in flat.items()}


def create_variables(file: Any, granule: Granule, info: ProductInfo) -> dict[str, Any]:
    """Create dimensions, attributes and variables of a product, following the CF conventions (1.10)."""
    file.Conventions = "CF-1.10"
    file.title = f"cloud phase and cloud top altitude, granule {info.key}{info.title_suffix}"
    file.source = f"{', '.join(info.sources)}; random forests {info.model_sha256}"
    file.synthetic = np.int32(info.synthetic)
    file.model_sha256 = info.model_sha256
    for name in ("time_coverage_start", "time_coverage_end"):
        if name in granule.radiances.ncattrs():
            file.setncattr(name, granule.radiances.getncattr(name))
    for name, length in zip(("line", "pixel"), granule.shape, strict=True):
        file.createDimension(name, length)
    probability = {
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
        "cloud_probability": create_plane(file, "cloud_probability", 3, **probability),
        "cloud_phase": create_plane(file, "cloud_phase", None, **phase),
        "cloud_top_altitude": create_plane(file, "cloud_top_altitude", 0, **top),
    }


def create_plane(file: Any, name: str, digits: int | None, **attributes: Any) -> Any:
    """Create a compressed plane; ``digits``: decimal places that are kept, None: integers."""
    is_integer = digits is None
    # Chunks no larger than one write: a chunk that is evicted from the cache half full is compressed twice.
    sides = [len(file.dimensions[side]) for side in ("line", "pixel")]
    variable = file.createVariable(
        name,
        "i1" if is_integer else "f4",
        ("line", "pixel"),
        zlib=True,
        complevel=1,
        chunksizes=(min(sides[0], LINES_AT_ONCE), min(sides[1], 800)),
        least_significant_digit=digits,
        fill_value=np.int8(NOT_OBSERVED) if is_integer else np.float32(np.nan),
    )
    variable.setncatts(attributes)
    return variable


# ---------------------------------------------------------------- the picture

INK = "#222222"
# Clear, water, ice, mixed: evenly spaced in lightness (L* 100, 63, 82, 39), so that they differ in gray, too. Clear has
# the same color on all maps, and what is not observed is hatched on dark.
PHASE_COLORS = ("#ffffff", "#e07b1a", "#a6d0ea", "#9b2f7f")
CLEAR_COLOR = PHASE_COLORS[0]
NO_DATA_COLOR, HATCH_COLOR, HATCH = "#1c1c1c", "#8a8a8a", "//////"
PICTURE_DPI = 200


@dataclass(frozen=True)
class PlaneStyle:
    """Appearance of a plane: title, unit, color map and the part of it that is used, range, factor of the values."""

    title: str
    unit: str
    colors: str
    part: tuple[float, float]
    limits: tuple[float, float]
    factor: float


# The ends of both color maps are left out: white is clear, dark is not observed.
PROBABILITY_STYLE = PlaneStyle("Probability of cloud", "1", "Blues", (0.0, 0.85), (0.0, 1.0), 1.0)
TOP_STYLE = PlaneStyle("Cloud top altitude", "km", "viridis", (0.2, 0.9), (0.0, 17.0), 1e-3)


@dataclass(frozen=True)
class TrackTruth:
    """Matched pixels of the track: line, pixel, and the lidar's class."""

    line: NDArray[np.int32]
    pixel: NDArray[np.int32]
    column_class: NDArray[np.int8]


def draw_maps(paths: Sequence[Path], preview: Preview, track: TrackTruth, info: ProductInfo) -> None:
    """Draw phase, probability of cloud and top altitude of a granule, with the track on each map.

    :param paths: of a PNG file, a PDF file, or both.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = preview.planes["cloud_phase"].shape
    side = 4.6
    figure = Figure(figsize=(3 * side * max(width / height, 0.6) + 3.0, side + 1.35), dpi=PICTURE_DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.05, right=0.94, top=0.85, bottom=0.12, wspace=0.38)
    draw_phase(axes[0], preview)
    draw_plane(axes[1], preview, "cloud_probability", PROBABILITY_STYLE)
    draw_plane(axes[2], preview, "cloud_top_altitude", TOP_STYLE)
    draw_legend(axes[0], (*zip(CLASSES, PHASE_COLORS, strict=True), ("not observed", NO_DATA_COLOR)))
    draw_legend(axes[1], (("not observed", NO_DATA_COLOR),))
    draw_legend(axes[2], (("clear", CLEAR_COLOR), ("not observed", NO_DATA_COLOR)))
    for axis in axes:
        axis.plot(track.pixel / preview.step, track.line / preview.step, color=INK, lw=2.6, solid_capstyle="butt")
        axis.plot(track.pixel / preview.step, track.line / preview.step, color="#ffffff", lw=0.8, ls=(0, (4, 3)))
        draw_graticule(axis, preview)
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="auto")
    draw_lidar_strip(axes[0], preview, track)
    figure.suptitle(
        f"VIIRS granule {info.key}, predicted by a model trained without it{info.title_suffix}",
        fontsize=12,
        y=0.965,
    )
    for path in paths:
        # Without the time of creation, the same granule gives the same file.
        figure.savefig(path, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)


def draw_phase(axis: Any, preview: Preview) -> None:
    """Draw the classes."""
    from matplotlib.colors import ListedColormap

    phase = preview.planes["cloud_phase"]
    hatch_background(axis)
    draw_image(axis, np.ma.masked_equal(phase, NOT_OBSERVED), ListedColormap(PHASE_COLORS), (-0.5, len(CLASSES) - 0.5))
    axis.set_title("Cloud phase", fontsize=11)


def draw_image(axis: Any, values: Any, colors: Any, limits: tuple[float, float]) -> Any:
    """Draw a plane pixel by pixel; masked pixels show what is below. Return the image."""
    return axis.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1], interpolation="nearest")


def hatch_background(axis: Any) -> None:
    """Hatch an axis, so that pixels without a value show as such."""
    axis.patch.set(facecolor=NO_DATA_COLOR, edgecolor=HATCH_COLOR, hatch=HATCH, linewidth=0.0)


def draw_legend(axis: Any, entries: tuple[tuple[str, str], ...]) -> None:
    """Draw a legend of colors below a map."""
    from matplotlib.patches import Patch

    patches = [
        Patch(
            facecolor=color,
            edgecolor=HATCH_COLOR if color == NO_DATA_COLOR else INK,
            hatch=HATCH if color == NO_DATA_COLOR else None,
            linewidth=0.5,
            label=name,
        )
        for name, color in entries
    ]
    axis.legend(
        handles=patches,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=3,
        frameon=False,
        fontsize=9,
        handlelength=1.6,
        handleheight=1.0,
        columnspacing=1.2,
        handletextpad=0.4,
    )


def draw_plane(axis: Any, preview: Preview, name: str, style: PlaneStyle) -> None:
    """Draw a plane with a color scale, over clear pixels in their color."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    hatch_background(axis)
    is_clear = np.ma.masked_not_equal(preview.planes["cloud_phase"], CLEAR)
    draw_image(axis, is_clear, ListedColormap([CLEAR_COLOR]), (-0.5, 0.5))
    colors = ListedColormap(matplotlib.colormaps[style.colors](np.linspace(*style.part, 256)))
    image = draw_image(axis, np.ma.masked_invalid(preview.planes[name] * style.factor), colors, style.limits)
    scale_axis = axis.inset_axes((1.02, 0.0, 0.04, 1.0))
    axis.figure.colorbar(image, cax=scale_axis, label=f"{style.title.lower()} ({style.unit})")
    axis.set_title(style.title, fontsize=11)


def draw_graticule(axis: Any, preview: Preview) -> None:
    """Draw lines of latitude and longitude; latitude only if the granule contains the date line or a pole."""
    axis.set(xticks=[], yticks=[])
    for name, positive, negative in (("latitude", "N", "S"), ("longitude", "E", "W")):
        values = np.ma.masked_invalid(preview.planes[name])
        span = float(values.max() - values.min()) if values.count() else 0.0
        if not span or (name == "longitude" and span >= 120.0):
            continue
        step = next(size for size in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if span / size < 6 or size == 20.0)
        levels = np.arange(np.floor(values.min() / step), np.ceil(values.max() / step) + 1) * step
        lines = axis.contour(values, levels=levels, colors="#7a828a", linewidths=0.5, linestyles=":")
        labels = {level: f"{abs(level):g}\N{DEGREE SIGN}{positive if level >= 0 else negative}" for level in levels}
        for text in axis.clabel(lines, fmt=labels, fontsize=7):
            text.set_bbox({"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.7, "pad": 0.6})


def draw_lidar_strip(axis: Any, preview: Preview, track: TrackTruth) -> None:
    """Draw the lidar's classes beside the map, line by line."""
    if not len(track.line):
        return
    height = preview.planes["cloud_phase"].shape[0]
    column = np.full(height, np.nan)
    has_class = track.column_class < len(CLASSES)
    column[np.minimum(track.line[has_class] // preview.step, height - 1)] = track.column_class[has_class]
    from matplotlib.colors import ListedColormap

    strip = axis.inset_axes((1.02, 0.0, 0.05, 1.0))
    strip.imshow(
        np.ma.masked_invalid(column[:, None]),
        cmap=ListedColormap(PHASE_COLORS),
        vmin=-0.5,
        vmax=3.5,
        aspect="auto",
        interpolation="nearest",
    )
    strip.set(xticks=[], yticks=[])
    strip.set_xlabel("lidar", fontsize=8)
    hatch_background(strip)
