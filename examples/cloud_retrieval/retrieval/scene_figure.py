"""retrieval.png: one judged scene as maps, the judged pixels of all scenes as distributions.

Rows: cloud mask, optical thickness, effective radius. Columns: truth, retrieval, error, and how the judged pixels
of all scenes fare. Where tiles inside scenes were judged they are outlined, and errors are shown inside them only.

matplotlib is imported by the functions that draw: a run that ends in an error does not wait for it.
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

MAX_MAP_PIXELS = 600  # pixels along a side; larger scenes are thinned for the picture
COT_RANGE, CER_RANGE = (0.5, 200.0), (4.0, 20.0)
COT_EDGES = np.geomspace(*COT_RANGE, 61)
CER_EDGES = np.linspace(*CER_RANGE, 61)
PROBABILITY_EDGES = np.linspace(0.0, 1.0, 11)
INK, CLEAR, EXCLUDED = "#222222", "#ffffff", "#dde1e6"
# Told apart by lightness as well as by hue.
AGREEMENT = (("clear in both", CLEAR), ("cloudy in both", "#8fb3cf"), ("missed", "#8c1d40"), ("false alarm", "#f0a030"))
NOT_EVALUATED = ("not judged", EXCLUDED)
NEAREST: dict[str, Any] = {"interpolation": "nearest"}
# Inches: a panel's side, the left edges of the four columns, the step from row to row, margins, the whole.
SIDE, LEFTS, STEP, BOTTOM, SIZE = 3.7, (0.25, 4.2, 9.1, 14.6), 4.5, 0.65, (19.4, 14.35)


@dataclass(frozen=True)
class SceneMaps:
    """One scene's planes; ``judged`` tells where errors count."""

    name: str
    probability: Plane
    cot: Plane
    cer: Plane
    true_cot: Plane
    true_cer: Plane
    evaluated: NDArray[np.bool_]

    @property
    def true_cloudy(self) -> NDArray[np.bool_]:
        """Cloudy in truth."""
        return np.isfinite(self.true_cot)

    @property
    def retrieved_cloudy(self) -> NDArray[np.bool_]:
        """Cloudy by retrieval."""
        return self.probability >= 0.5


@dataclass
class PixelCounts:
    """Judged pixels of all scenes, counted into bins: any number of scenes takes the same memory."""

    cot: Plane = field(default_factory=lambda: np.zeros((60, 60)))
    cer: Plane = field(default_factory=lambda: np.zeros((60, 60)))
    by_probability: Plane = field(default_factory=lambda: np.zeros(10))
    cloudy_by_probability: Plane = field(default_factory=lambda: np.zeros(10))

    def add(self, planes: dict[str, Any]) -> None:
        """Count some rows of a scene."""
        judged = evaluated_mask(planes)
        cot = planes["truth_cloud_optical_thickness"][judged]
        cloudy = np.isfinite(cot)
        chance = planes["cloud_mask_probability"][judged]
        self.by_probability += np.histogram(chance, PROBABILITY_EDGES)[0]
        self.cloudy_by_probability += np.histogram(chance[cloudy], PROBABILITY_EDGES)[0]
        self.cot += histogram_pairs(cot[cloudy], planes["cloud_optical_thickness"][judged][cloudy], COT_EDGES)
        if "truth_cloud_effective_radius" in planes:
            cer = planes["truth_cloud_effective_radius"][judged]
            known = np.isfinite(cer)
            self.cer += histogram_pairs(cer[known], planes["cloud_effective_radius"][judged][known], CER_EDGES)


def evaluated_mask(planes: dict[str, Any]) -> NDArray[np.bool_]:
    """Which pixels were judged."""
    if "role" in planes:
        return np.asarray(planes["role"] == train_test_split.TEST)
    return np.ones(planes["cloud_mask_probability"].shape, dtype=bool)


def histogram_pairs(truth: NDArray[Any], estimate: NDArray[Any], edges: Plane) -> Plane:
    """Counts of (truth, estimate) in bins; what lies outside counts in the outermost."""
    across, up = (np.clip(values.astype(np.float64), edges[0], edges[-1]) for values in (truth, estimate))
    return np.asarray(np.histogram2d(across, up, bins=[edges, edges])[0])


def draw_figure(outcome: RetrievalResult) -> None:
    """Write retrieval.png to the output folder; without truth there is nothing to compare, and no figure."""
    if not outcome.scores.pixels:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    maps, counts = load_maps(outcome.options.out / "predictions.h5", sorted(outcome.per_scene)[0])
    with plt.rc_context({"font.size": 10, "axes.titlesize": 11, "axes.edgecolor": INK, "axes.linewidth": 0.6}):
        figure = plt.figure(figsize=SIZE)
        axes = create_axes(figure)
        draw_mask_row(axes[0], maps, counts)
        draw_cot_row(axes[1], maps, counts, outcome.scores)
        draw_cer_row(axes[2], maps, counts, outcome.scores)
        for axis in axes[:, :3].ravel():
            finish_map(axis, maps)
        figure.suptitle(figure_title(outcome, maps), fontsize=14, y=0.975)
        figure.savefig(outcome.options.out / "retrieval.png", dpi=90)
        plt.close(figure)


def create_axes(figure: Any) -> Any:
    """Axes of 3 rows and 4 columns, equal squares with room for scales where there are some."""
    width, height = SIZE
    places = [[(left, BOTTOM + row * STEP) for left in LEFTS] for row in (2, 1, 0)]
    boxes = [[(x / width, y / height, SIDE / width, SIDE / height) for x, y in row] for row in places]
    return np.array([[figure.add_axes(box) for box in row] for row in boxes])


def figure_title(outcome: RetrievalResult, maps: SceneMaps) -> str:
    """What the figure shows, and that data were made up where they were."""
    where = "held-out scene" if outcome.options.held_out else "outlined tiles were held out of training"
    made_up = {"synthetic": " - synthetic data", "mixed": " - partly synthetic data"}.get(outcome.data_kind, "")
    return f"Cloud retrieval, {maps.name} ({where}){made_up}"


def load_maps(path: Path, name: str) -> tuple[SceneMaps, PixelCounts]:
    """Maps of one scene, and counts over all scenes that know their truth."""
    counts, planes = PixelCounts(), {}
    for found, group in predictions_file.iter_scenes(path):
        if "truth_cloud_optical_thickness" in group:
            for part in predictions_file.iter_row_blocks(group):
                counts.add(part)
        if found == name:
            step = -(-max(group["cloud_mask_probability"].shape) // MAX_MAP_PIXELS)
            planes = {key: np.asarray(group[key][::step, ::step]) for key in group}
    return build_maps(name, planes), counts


def build_maps(name: str, planes: dict[str, Any]) -> SceneMaps:
    """The maps of one scene; NaN where truth is not known."""
    nothing = np.full(planes["cloud_mask_probability"].shape, np.nan)
    return SceneMaps(
        name=name,
        probability=planes["cloud_mask_probability"],
        cot=planes["cloud_optical_thickness"],
        cer=planes["cloud_effective_radius"],
        true_cot=planes.get("truth_cloud_optical_thickness", nothing),
        true_cer=planes.get("truth_cloud_effective_radius", nothing),
        evaluated=evaluated_mask(planes),
    )


def draw_mask_row(axes: Any, maps: SceneMaps, counts: PixelCounts) -> None:
    """Cloud mask: truth, probability, agreement, reliability."""
    from matplotlib.colors import ListedColormap

    two = ListedColormap([CLEAR, AGREEMENT[1][1]])
    axes[0].imshow(maps.true_cloudy, cmap=two, vmin=0, vmax=1, **NEAREST)
    chance = axes[1].imshow(maps.probability, cmap="Blues", vmin=0, vmax=1, **NEAREST)
    add_colorbar(axes[1], chance, "probability of cloud (1)")
    kinds = np.select([maps.true_cloudy & maps.retrieved_cloudy, maps.true_cloudy, maps.retrieved_cloudy], [1, 2, 3], 0)
    shown = np.where(maps.evaluated, kinds, len(AGREEMENT))
    classes = (*AGREEMENT, NOT_EVALUATED) if not maps.evaluated.all() else AGREEMENT
    colours = ListedColormap([colour for _, colour in (*AGREEMENT, NOT_EVALUATED)])
    axes[2].imshow(shown, cmap=colours, vmin=-0.5, vmax=len(AGREEMENT) + 0.5, **NEAREST)
    add_legend(axes[2], classes)
    for axis, what in zip(axes, ("truth (blue: cloudy)", "retrieval", "agreement"), strict=False):
        axis.set_title(f"Cloud mask: {what}")
    draw_reliability(axes[3], counts)


def add_legend(axis: Any, classes: tuple[tuple[str, str], ...]) -> None:
    """Patches for classes, to the right of a map, where others have their colour scale."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, edgecolor=INK, linewidth=0.5, label=name) for name, colour in classes]
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.01), frameon=False, fontsize=9, handlelength=1.0
    )


def draw_reliability(axis: Any, counts: PixelCounts) -> None:
    """How often pixels of a stated probability are cloudy."""
    enough = counts.by_probability >= 10
    stated = ((PROBABILITY_EDGES[:-1] + PROBABILITY_EDGES[1:]) / 2)[enough]
    axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls="--", label="perfect")
    axis.plot(
        stated,
        counts.cloudy_by_probability[enough] / counts.by_probability[enough],
        "o-",
        color="#2f6690",
        ms=5,
        label="retrieval",
    )
    axis.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="stated probability of cloud (1)", ylabel="share of pixels that are cloudy (1)"
    )
    axis.set_title(f"Reliability, {int(counts.by_probability.sum()):,} judged pixels")
    axis.legend(frameon=False, loc="upper left", fontsize=9)
    axis.set_box_aspect(1)


def draw_cot_row(axes: Any, maps: SceneMaps, counts: PixelCounts, score: Scores) -> None:
    """Optical thickness: truth, retrieval, their ratio, all judged pixels."""
    from matplotlib.colors import LogNorm

    for axis, values in zip(axes, (maps.true_cot, np.where(maps.retrieved_cloudy, maps.cot, np.nan)), strict=False):
        image = draw_cloud_map(axis, values, "viridis", LogNorm(*COT_RANGE))
    add_colorbar(axes[1], image, "optical thickness (1)", ticks=(1, 2, 5, 10, 20, 50, 100, 200))
    ratio = np.where(maps.evaluated, maps.cot / maps.true_cot, np.nan)
    image = draw_cloud_map(axes[2], ratio, "RdBu_r", LogNorm(0.125, 8), errors=maps)
    add_colorbar(axes[2], image, "retrieved / true (1)", ticks=(0.125, 0.25, 0.5, 1, 2, 4, 8))
    for axis, what in zip(axes, ("truth", "retrieval", "ratio"), strict=False):
        axis.set_title(f"Cloud optical thickness: {what}")
    draw_density(axes[3], counts.cot, COT_EDGES, "optical thickness (1)")
    axes[3].set(xscale="log", yscale="log", title=f"R$^2$ of log(1+COT) {format_score(score.log_cot.r2)}")


def draw_cer_row(axes: Any, maps: SceneMaps, counts: PixelCounts, score: Scores) -> None:
    """Effective radius: truth, retrieval, their difference, all judged pixels."""
    from matplotlib.colors import Normalize

    known = maps.true_cer[np.isfinite(maps.true_cer)]
    low, high = np.percentile(known, [1, 99]) if len(known) else CER_RANGE
    scale = Normalize(np.floor(low), np.ceil(high))
    for axis, values in zip(axes, (maps.true_cer, np.where(maps.retrieved_cloudy, maps.cer, np.nan)), strict=False):
        image = draw_cloud_map(axis, values, "plasma", scale)
    add_colorbar(axes[1], image, "effective radius (µm)", extend="both")
    error = np.where(maps.evaluated, maps.cer - maps.true_cer, np.nan)
    image = draw_cloud_map(axes[2], error, "RdBu_r", Normalize(-4, 4), errors=maps)
    add_colorbar(axes[2], image, "retrieved - true (µm)", extend="both")
    for axis, what in zip(axes, ("truth", "retrieval", "difference"), strict=False):
        axis.set_title(f"Cloud effective radius: {what}")
    draw_density(axes[3], counts.cer, CER_EDGES, "effective radius (µm)")
    axes[3].set_title(f"R$^2$ {format_score(score.cer.r2)},  RMSE {format_score(score.cer.rmse)} µm")


def draw_cloud_map(axis: Any, values: Plane, colours: str, scale: Any, *, errors: SceneMaps | None = None) -> Any:
    """A map of cloudy pixels on a ground for clear ones; ``errors``: grey where not judged, true clouds outlined."""
    from matplotlib.colors import ListedColormap

    ground = np.ones(values.shape, bool) if errors is None else errors.evaluated
    axis.imshow(ground, cmap=ListedColormap([EXCLUDED, CLEAR]), vmin=0, vmax=1, **NEAREST)
    if errors is not None and (errors.true_cloudy & errors.evaluated).any():
        axis.contour(errors.true_cloudy & errors.evaluated, levels=[0.5], colors="#9aa3ad", linewidths=0.4)
    return axis.imshow(values, cmap=colours, norm=scale, **NEAREST)


def add_colorbar(axis: Any, image: Any, what: str, *, ticks: tuple[float, ...] = (), extend: str = "neither") -> None:
    """A colour scale with its unit beside a map."""
    beside = axis.inset_axes((1.03, 0.0, 0.045, 1.0))
    scale = axis.figure.colorbar(image, cax=beside, label=what, extend=extend)
    if ticks:
        scale.set_ticks(ticks, labels=[format_tick(tick) for tick in ticks])
        scale.ax.minorticks_off()


def format_tick(tick: float) -> str:
    """``1/4`` for 0.25, else the number."""
    return f"1/{1 / tick:.0f}" if tick in (0.125, 0.25, 0.5) else f"{tick:g}"


def draw_density(axis: Any, counts: Plane, edges: Plane, what: str) -> None:
    """Truth against retrieval of all judged cloudy pixels."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    # The lightest fifth of the scale would not show on white.
    blues = ListedColormap(colormaps["Blues"](np.linspace(0.2, 1.0, 256)))
    top = max(float(counts.max()), 2.0)
    image = axis.pcolormesh(edges, edges, np.where(counts > 0, counts, np.nan).T, cmap=blues, norm=LogNorm(1, top))
    axis.plot(edges[[0, -1]], edges[[0, -1]], color=INK, lw=0.8, ls="--")
    axis.set(xlabel=f"true {what}", ylabel=f"retrieved {what}", xlim=edges[[0, -1]], ylim=edges[[0, -1]])
    axis.set_box_aspect(1)
    add_colorbar(axis, image, "judged cloudy pixels per bin")


def finish_map(axis: Any, maps: SceneMaps) -> None:
    """No ticks (a pixel is a pixel), and the outline of the judged tiles."""
    axis.set(xticks=[], yticks=[])
    if not maps.evaluated.all():
        axis.contour(maps.evaluated, levels=[0.5], colors=INK, linewidths=0.8)


def format_score(value: float | None) -> str:
    """Two digits, or ``n/a``."""
    return "n/a" if value is None else f"{value:.2f}"
