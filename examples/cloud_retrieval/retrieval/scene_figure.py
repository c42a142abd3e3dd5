"""retrieval.png and retrieval.pdf: maps of one test scene, and distributions over the test pixels of all scenes.

Rows: cloud mask, optical thickness, effective radius. Columns: input or truth, retrieval, error, and statistics of the
test pixels of all scenes. If tiles inside scenes were held out, they are outlined, and errors are shown inside them
only. Points on the scatters are means of truth by bin of retrieved value: on the diagonal if there is no bias.

matplotlib is imported inside the functions that draw, so that a run that fails early does not load it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval import predictions_file, train_test_split

if TYPE_CHECKING:
    from pathlib import Path

    from retrieval.evaluation import Scores
    from retrieval.pipeline import RetrievalResult

Plane = NDArray[np.float64]

MAX_MAP_PIXELS = 600  # pixels along a side; larger scenes are subsampled
COT_RANGE, CER_RANGE = (0.5, 200.0), (4.0, 20.0)
COT_EDGES = np.geomspace(*COT_RANGE, 61)
CER_EDGES = np.linspace(*CER_RANGE, 61)
PROBABILITY_EDGES = np.linspace(0.0, 1.0, 11)
# Points on the scatters: bins of the histogram for each, and the fewest pixels that give a mean.
BINS_PER_POINT, FEWEST_PIXELS = 6, 30
INK, CLEAR, EXCLUDED = "#222222", "#ffffff", "#dde1e6"
# Distinguishable by lightness as well as by hue.
AGREEMENT = (("clear in both", CLEAR), ("cloudy in both", "#6f9bbd"), ("missed", "#6b1230"), ("false alarm", "#ffcf40"))
NOT_EVALUATED = ("not evaluated", EXCLUDED)
PNG_DPI = 200
LABEL_BOX: dict[str, Any] = {"facecolor": INK, "alpha": 0.8, "linewidth": 0, "pad": 2}
# Difference of correlations; without shading it is zero but for noise.
CLEAR_ASYMMETRY = 0.02
NEAREST: dict[str, Any] = {"interpolation": "nearest"}
# Inches: side of a panel, left edges of the four columns, distance between rows, bottom margin, size of the figure.
SIDE, LEFTS, STEP, BOTTOM, SIZE = 3.7, (0.25, 4.2, 9.1, 14.6), 4.5, 0.65, (19.4, 14.35)


@dataclass(frozen=True)
class SceneMaps:
    """Planes of one scene; ``evaluated`` marks its test pixels."""

    name: str
    probability: Plane
    cot: Plane
    cer: Plane
    true_cot: Plane
    true_cer: Plane
    evaluated: NDArray[np.bool_]
    reflectance: Plane
    pixel_km: float

    @property
    def true_cloudy(self) -> NDArray[np.bool_]:
        """Cloudy pixels in truth."""
        return np.isfinite(self.true_cot)

    @property
    def retrieved_cloudy(self) -> NDArray[np.bool_]:
        """Cloudy pixels in the retrieval."""
        return self.probability >= 0.5


@dataclass
class PixelCounts:
    """Histograms over the test pixels of all scenes; memory does not depend on the number of scenes."""

    cot: Plane = field(default_factory=lambda: np.zeros((60, 60)))
    cer: Plane = field(default_factory=lambda: np.zeros((60, 60)))
    by_probability: Plane = field(default_factory=lambda: np.zeros(10))
    cloudy_by_probability: Plane = field(default_factory=lambda: np.zeros(10))

    def add(self, planes: dict[str, Any]) -> None:
        """Add some rows of a scene."""
        is_test = evaluated_mask(planes)
        cot = planes["truth_cloud_optical_thickness"][is_test]
        cloudy = np.isfinite(cot)
        probability = planes["cloud_mask_probability"][is_test]
        self.by_probability += np.histogram(probability, PROBABILITY_EDGES)[0]
        self.cloudy_by_probability += np.histogram(probability[cloudy], PROBABILITY_EDGES)[0]
        self.cot += histogram_pairs(cot[cloudy], planes["cloud_optical_thickness"][is_test][cloudy], COT_EDGES)
        if "truth_cloud_effective_radius" in planes:
            cer = planes["truth_cloud_effective_radius"][is_test]
            has_cer = np.isfinite(cer)
            self.cer += histogram_pairs(cer[has_cer], planes["cloud_effective_radius"][is_test][has_cer], CER_EDGES)


def evaluated_mask(planes: dict[str, Any]) -> NDArray[np.bool_]:
    """Return True for each test pixel."""
    if "role" in planes:
        return np.asarray(planes["role"] == train_test_split.TEST)
    return np.ones(planes["cloud_mask_probability"].shape, dtype=bool)


def histogram_pairs(truth: NDArray[Any], estimate: NDArray[Any], edges: Plane) -> Plane:
    """Return counts of (truth, estimate) in bins; values outside count in the outermost bins."""
    x, y = (np.clip(values.astype(np.float64), edges[0], edges[-1]) for values in (truth, estimate))
    return np.asarray(np.histogram2d(x, y, bins=[edges, edges])[0])


def draw_figure(result: RetrievalResult) -> None:
    """Write retrieval.png to the output folder; without truth no figure is drawn."""
    if not result.scores.pixels:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    maps, counts = load_maps(result.options.out / "predictions.h5", sorted(result.per_scene)[0])
    with plt.rc_context({"font.size": 10, "axes.titlesize": 11, "axes.edgecolor": INK, "axes.linewidth": 0.6}):
        figure = plt.figure(figsize=SIZE)
        axes = create_axes(figure)
        draw_mask_row(axes[0], maps, counts)
        draw_cot_row(axes[1], maps, counts, result.scores)
        draw_cer_row(axes[2], maps, counts, result.scores)
        for axis in axes[:, :3].ravel():
            finish_map(axis, maps)
        figure.suptitle(figure_title(result, maps), fontsize=14, y=0.975)
        figure.savefig(result.options.out / "retrieval.png", dpi=PNG_DPI)
        # Without a date in it, the same result gives the same file.
        figure.savefig(result.options.out / "retrieval.pdf", dpi=PNG_DPI, metadata={"CreationDate": None})
        plt.close(figure)


def create_axes(figure: Any) -> Any:
    """Create axes of 3 rows and 4 columns: equal squares with room for color scales."""
    width, height = SIZE
    corners = [[(left, BOTTOM + row * STEP) for left in LEFTS] for row in (2, 1, 0)]
    boxes = [[(x / width, y / height, SIDE / width, SIDE / height) for x, y in row] for row in corners]
    return np.array([[figure.add_axes(box) for box in row] for row in boxes])


def figure_title(result: RetrievalResult, maps: SceneMaps) -> str:
    """Return the title of the figure, which names synthetic data."""
    test_set = "held-out scene" if result.options.held_out else "outlined tiles were held out of training"
    suffix = {"synthetic": " - synthetic data", "mixed": " - partly synthetic data"}.get(result.data_kind, "")
    return f"Cloud retrieval, {maps.name} ({test_set}){suffix}"


def load_maps(path: Path, name: str) -> tuple[SceneMaps, PixelCounts]:
    """Return the maps of one scene, and counts over all scenes with truth."""
    counts, planes, pixel_km = PixelCounts(), {}, 0.0
    for scene_name, group in predictions_file.iter_scenes(path):
        if "truth_cloud_optical_thickness" in group:
            for part in predictions_file.iter_row_blocks(group):
                counts.add(part)
        if scene_name == name:
            # Rounded up, so that the longer side never exceeds the limit.
            step = -(-max(group["cloud_mask_probability"].shape) // MAX_MAP_PIXELS)
            planes = {key: np.asarray(group[key][::step, ::step]) for key in group}
            pixel_km = float(group.attrs["pixel_m"]) * step / 1000.0
    return build_maps(name, planes, pixel_km), counts


def build_maps(name: str, planes: dict[str, Any], pixel_km: float) -> SceneMaps:
    """Return the maps of one scene; NaN where truth is unknown."""
    unknown = np.full(planes["cloud_mask_probability"].shape, np.nan)
    return SceneMaps(
        name=name,
        probability=planes["cloud_mask_probability"],
        cot=planes["cloud_optical_thickness"],
        cer=planes["cloud_effective_radius"],
        true_cot=planes.get("truth_cloud_optical_thickness", unknown),
        true_cer=planes.get("truth_cloud_effective_radius", unknown),
        evaluated=evaluated_mask(planes),
        reflectance=planes["reflectance_066"],
        pixel_km=pixel_km,
    )


def draw_mask_row(axes: Any, maps: SceneMaps, counts: PixelCounts) -> None:
    """Draw the cloud mask: truth, probability, agreement, reliability."""
    from matplotlib.colors import ListedColormap

    draw_input(axes[0], maps)
    image = axes[1].imshow(maps.probability, cmap="Blues", vmin=0, vmax=1, **NEAREST)
    add_colorbar(axes[1], image, "probability of cloud (1)")
    agreement = np.select(
        [maps.true_cloudy & maps.retrieved_cloudy, maps.true_cloudy, maps.retrieved_cloudy], [1, 2, 3], 0
    )
    shown = np.where(maps.evaluated, agreement, len(AGREEMENT))
    classes = (*AGREEMENT, NOT_EVALUATED) if not maps.evaluated.all() else AGREEMENT
    colors = ListedColormap([color for _, color in (*AGREEMENT, NOT_EVALUATED)])
    axes[2].imshow(shown, cmap=colors, vmin=-0.5, vmax=len(AGREEMENT) + 0.5, **NEAREST)
    add_legend(axes[2], classes)
    for axis, subject in zip(axes[1:], ("retrieval", "agreement"), strict=False):
        axis.set_title(f"Cloud mask: {subject}")
    draw_reliability(axes[3], counts)


def draw_input(axis: Any, maps: SceneMaps) -> None:
    """Draw the reflectance at 0.66 um with true clouds outlined, a scale bar, and an arrow towards the sun."""
    brightest = float(np.percentile(maps.reflectance, 99))
    axis.imshow(maps.reflectance, cmap="gray", vmin=0.0, vmax=brightest, **NEAREST)
    if maps.true_cloudy.any() and not maps.true_cloudy.all():
        axis.contour(maps.true_cloudy, levels=[0.5], colors="#ffcf40", linewidths=0.6)
    axis.set_title(f"Input: reflectance at 0.66 µm, 0 to {brightest:.1f}")
    draw_scale_bar(axis, maps)
    if side := sun_side(maps):
        text = "\u2190 to the sun" if side < 0 else "to the sun \u2192"
        axis.text(0.04, 0.95, text, color="white", va="top", fontsize=10, transform=axis.transAxes, bbox=LABEL_BOX)


def draw_scale_bar(axis: Any, maps: SceneMaps) -> None:
    """Draw a bar of about a quarter of the scene's width, in km if the size of a pixel is known."""
    unit, size = ("km", maps.pixel_km) if maps.pixel_km else ("pixels", 1.0)
    quarter = maps.reflectance.shape[1] * size / 4.0
    length = max((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if step <= quarter), default=quarter)
    share = length / (4.0 * quarter)
    axis.plot([0.04, 0.04 + share], [0.04, 0.04], color="white", lw=3, transform=axis.transAxes, solid_capstyle="butt")
    label = f"{length:g} {unit}"
    axis.text(0.04, 0.06, label, color="white", va="bottom", fontsize=9, transform=axis.transAxes, bbox=LABEL_BOX)


def sun_side(maps: SceneMaps) -> int:
    """Return -1 if the sun is on the left, 1 on the right, 0 if unknown: clouds are brighter on their sunlit side."""
    thickness = np.log1p(np.nan_to_num(maps.true_cot))
    if maps.reflectance.shape[1] < 3 or not thickness.any():
        return 0
    left, right = (
        float(np.corrcoef(thickness[:, 1:-1].ravel(), maps.reflectance[:, part].ravel())[0, 1])
        for part in (slice(None, -2), slice(2, None))
    )
    return int(np.sign(right - left)) if abs(right - left) > CLEAR_ASYMMETRY else 0


def add_legend(axis: Any, classes: tuple[tuple[str, str], ...]) -> None:
    """Add a legend of classes to the right of a map, in the place of the color scale."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=color, edgecolor=INK, linewidth=0.5, label=name) for name, color in classes]
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.01), frameon=False, fontsize=9, handlelength=1.0
    )


def draw_reliability(axis: Any, counts: PixelCounts) -> None:
    """Draw the observed frequency of cloud against its predicted probability."""
    # Bins of fewer pixels are too noisy to show.
    populated = counts.by_probability >= 10
    predicted = ((PROBABILITY_EDGES[:-1] + PROBABILITY_EDGES[1:]) / 2)[populated]
    axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls="--", label="perfect")
    axis.plot(
        predicted,
        counts.cloudy_by_probability[populated] / counts.by_probability[populated],
        "o-",
        color="#2f6690",
        ms=5,
        label="retrieval",
    )
    axis.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="predicted probability of cloud (1)",
        ylabel="share of pixels that are cloudy (1)",
    )
    axis.set_title(f"Reliability, {int(counts.by_probability.sum()):,} test pixels")
    axis.legend(frameon=False, loc="upper left", fontsize=9)
    axis.set_box_aspect(1)


def draw_cot_row(axes: Any, maps: SceneMaps, counts: PixelCounts, scores: Scores) -> None:
    """Draw optical thickness: truth, retrieval, their ratio, all test pixels."""
    from matplotlib.colors import LogNorm

    for axis, values in zip(axes, (maps.true_cot, np.where(maps.retrieved_cloudy, maps.cot, np.nan)), strict=False):
        image = draw_cloud_map(axis, values, "viridis", LogNorm(*COT_RANGE))
    add_colorbar(axes[1], image, "optical thickness (1)", ticks=(1, 2, 5, 10, 20, 50, 100, 200))
    ratio = np.where(maps.evaluated, maps.cot / maps.true_cot, np.nan)
    image = draw_cloud_map(axes[2], ratio, "RdBu_r", LogNorm(0.125, 8), errors=maps)
    add_colorbar(axes[2], image, "retrieved / true (1)", ticks=(0.125, 0.25, 0.5, 1, 2, 4, 8))
    for axis, subject in zip(axes, ("truth", "retrieval", "ratio"), strict=False):
        axis.set_title(f"Cloud optical thickness: {subject}")
    draw_density(axes[3], counts.cot, COT_EDGES, "optical thickness (1)")
    axes[3].set(xscale="log", yscale="log", title=f"R$^2$ of log(1+COT) {format_score(scores.log_cot.r2)}")


def draw_cer_row(axes: Any, maps: SceneMaps, counts: PixelCounts, scores: Scores) -> None:
    """Draw effective radius: truth, retrieval, their difference, all test pixels."""
    from matplotlib.colors import Normalize

    known_radius = maps.true_cer[np.isfinite(maps.true_cer)]
    # A few extreme droplet sizes would otherwise compress the color scale.
    low, high = np.percentile(known_radius, [1, 99]) if len(known_radius) else CER_RANGE
    scale = Normalize(np.floor(low), np.ceil(high))
    for axis, values in zip(axes, (maps.true_cer, np.where(maps.retrieved_cloudy, maps.cer, np.nan)), strict=False):
        image = draw_cloud_map(axis, values, "plasma", scale)
    add_colorbar(axes[1], image, "effective radius (µm)", extend="both")
    error = np.where(maps.evaluated, maps.cer - maps.true_cer, np.nan)
    image = draw_cloud_map(axes[2], error, "RdBu_r", Normalize(-4, 4), errors=maps)
    add_colorbar(axes[2], image, "retrieved - true (µm)", extend="both")
    for axis, subject in zip(axes, ("truth", "retrieval", "difference"), strict=False):
        axis.set_title(f"Cloud effective radius: {subject}")
    draw_density(axes[3], counts.cer, CER_EDGES, "effective radius (µm)")
    axes[3].set_title(f"R$^2$ {format_score(scores.cer.r2)},  RMSE {format_score(scores.cer.rmse)} µm")


def draw_cloud_map(axis: Any, values: Plane, colors: str, scale: Any, *, errors: SceneMaps | None = None) -> Any:
    """Draw a map of cloudy pixels; with ``errors``, pixels that are not tested are gray, true clouds outlined."""
    from matplotlib.colors import ListedColormap

    background = np.ones(values.shape, bool) if errors is None else errors.evaluated
    axis.imshow(background, cmap=ListedColormap([EXCLUDED, CLEAR]), vmin=0, vmax=1, **NEAREST)
    if errors is not None and (errors.true_cloudy & errors.evaluated).any():
        axis.contour(errors.true_cloudy & errors.evaluated, levels=[0.5], colors="#9aa3ad", linewidths=0.4)
    return axis.imshow(values, cmap=colors, norm=scale, **NEAREST)


def add_colorbar(axis: Any, image: Any, label: str, *, ticks: tuple[float, ...] = (), extend: str = "neither") -> None:
    """Add a color scale with its unit beside a map."""
    scale_axis = axis.inset_axes((1.03, 0.0, 0.045, 1.0))
    scale = axis.figure.colorbar(image, cax=scale_axis, label=label, extend=extend)
    if ticks:
        scale.set_ticks(ticks, labels=[format_tick(tick) for tick in ticks])
        scale.ax.minorticks_off()


def format_tick(tick: float) -> str:
    """Return ``1/4`` for 0.25, otherwise the number."""
    return f"1/{1 / tick:.0f}" if tick in (0.125, 0.25, 0.5) else f"{tick:g}"


def draw_density(axis: Any, counts: Plane, edges: Plane, label: str) -> None:
    """Draw retrieval against truth of all cloudy test pixels."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    # The lightest fifth of the color map is invisible on white.
    blues = ListedColormap(colormaps["Blues"](np.linspace(0.2, 1.0, 256)))
    top = max(float(counts.max()), 2.0)
    image = axis.pcolormesh(edges, edges, np.where(counts > 0, counts, np.nan).T, cmap=blues, norm=LogNorm(1, top))
    axis.plot(edges[[0, -1]], edges[[0, -1]], color=INK, lw=0.8, ls="--")
    truth, retrieved = conditional_means(counts, edges)
    axis.plot(truth, retrieved, "o", color="white", mec=INK, mew=1.2, ms=6, label="mean truth by retrieved value")
    axis.legend(frameon=False, loc="upper left", fontsize=9)
    limits = occupied_range(counts, edges)
    axis.set(xlabel=f"true {label}", ylabel=f"retrieved {label}", xlim=limits, ylim=limits)
    axis.set_box_aspect(1)
    add_colorbar(axis, image, "cloudy test pixels per bin")


def conditional_means(counts: Plane, edges: Plane) -> tuple[Plane, Plane]:
    """Return the mean of truth and of retrieval in bins of retrieved value, six bins of the histogram each."""
    middle = (edges[:-1] + edges[1:]) / 2.0
    groups = counts.reshape(len(middle), -1, BINS_PER_POINT)
    pixels = groups.sum(axis=(0, 2))
    populated = pixels >= FEWEST_PIXELS
    truth = (groups.sum(axis=2) * middle[:, None]).sum(axis=0)
    retrieved = (groups.sum(axis=0) * middle.reshape(-1, BINS_PER_POINT)).sum(axis=1)
    return truth[populated] / pixels[populated], retrieved[populated] / pixels[populated]


def occupied_range(counts: Plane, edges: Plane) -> tuple[float, float]:
    """Return the range of the bins that hold pixels, of truth or retrieval."""
    occupied = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
    return (edges[occupied[0]], edges[occupied[-1] + 1]) if len(occupied) else (edges[0], edges[-1])


def finish_map(axis: Any, maps: SceneMaps) -> None:
    """Remove ticks (pixel indices carry no information) and outline the test tiles."""
    axis.set(xticks=[], yticks=[])
    if not maps.evaluated.all():
        axis.contour(maps.evaluated, levels=[0.5], colors=INK, linewidths=0.8)


def format_score(value: float | None) -> str:
    """Format a score with two digits; ``n/a`` for None."""
    return "n/a" if value is None else f"{value:.2f}"
