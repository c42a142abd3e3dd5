"""retrieval.png and retrieval.pdf: maps of one test scene, and distributions over the test pixels of all scenes.

Rows: cloud mask, optical thickness, effective radius; with boosting also mean optical thickness, water path and
uncertainties. Columns: input or truth, retrieval, error, and statistics of the test pixels of all scenes. If tiles
inside scenes were held out, they are outlined, and errors are shown inside them only. Points on the scatters are means
of truth by bin of retrieved value: on the diagonal if there is no bias.

The size is that of a page: at the width of a page or of two columns (17 cm), letters are 5 to 6 points high.

matplotlib is imported inside the functions that draw, so that a run that fails early does not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from figure import panels
from figure.panels import CLEAR, EXCLUDED, INK, NEAREST
from figure.scene_maps import (
    CER_EDGES,
    CER_RANGE,
    COT_EDGES,
    COT_RANGE,
    Extras,
    PixelCounts,
    SceneMaps,
    load_maps,
    occupied_range,
)

if TYPE_CHECKING:
    from retrieval.evaluation import Scores
    from retrieval.pipeline import RetrievalResult

__all__ = ["INK", "draw_figure"]

# Distinguishable by lightness as well as by hue.
AGREEMENT = (("clear in both", CLEAR), ("cloudy in both", "#6f9bbd"), ("missed", "#6b1230"), ("false alarm", "#b8500f"))
NOT_EVALUATED = ("not evaluated", EXCLUDED)
COT_TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
PNG_DPI = 200
STYLE: Any = {
    "font.size": panels.SMALL,
    "axes.titlesize": panels.SMALL + 1,
    "axes.titlepad": 4,
    "axes.labelpad": 2,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,
}
# Inches: side of a panel, left edges of the four columns, distance between rows, margins, width of the figure.
SIDE, LEFTS, STEP, BOTTOM, TOP, WIDTH = 2.0, (0.25, 2.5, 5.25, 8.9), 2.55, 0.65, 0.6, 11.6


def draw_figure(result: RetrievalResult) -> None:
    """Write retrieval.png and retrieval.pdf to the output folder; without truth no figure is drawn."""
    if not result.scores.pixels:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    maps, counts = load_maps(result.options.out / "predictions.h5", sorted(result.per_scene)[0])
    rows = 4 if maps.extras else 3
    height = BOTTOM + (rows - 1) * STEP + SIDE + TOP
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(WIDTH, height))
        axes = create_axes(figure, rows, height)
        draw_mask_row(axes[0], maps, counts)
        draw_cot_row(axes[1], maps, counts, result.scores)
        draw_cer_row(axes[2], maps, counts, result.scores)
        if maps.extras:
            draw_extras_row(axes[3], maps, maps.extras)
        for axis in (*axes[:3, :3].ravel(), *axes[3:].ravel()):
            panels.finish_map(axis, maps)
        figure.suptitle(figure_title(result, maps), fontsize=11, y=1.0 - 0.12 / height, va="top")
        figure.savefig(result.options.out / "retrieval.png", dpi=PNG_DPI)
        # Without a date in it, the same result gives the same file.
        figure.savefig(result.options.out / "retrieval.pdf", dpi=PNG_DPI, metadata={"CreationDate": None})
        plt.close(figure)


def create_axes(figure: Any, rows: int, height: float) -> Any:
    """Create axes of four columns: equal squares with room for color scales."""
    corners = [[(left, BOTTOM + row * STEP) for left in LEFTS] for row in reversed(range(rows))]
    boxes = [[(x / WIDTH, y / height, SIDE / WIDTH, SIDE / height) for x, y in row] for row in corners]
    return np.array([[figure.add_axes(box) for box in row] for row in boxes])


def figure_title(result: RetrievalResult, maps: SceneMaps) -> str:
    """Return the title of the figure, which names synthetic data."""
    test_set = "held-out scene" if result.options.held_out else "outlined tiles were held out of training"
    suffix = {"synthetic": " - synthetic data", "mixed": " - partly synthetic data"}.get(result.data_kind, "")
    return f"Cloud retrieval, {maps.name} ({test_set}){suffix}"


def draw_mask_row(axes: Any, maps: SceneMaps, counts: PixelCounts) -> None:
    """Draw the cloud mask: truth, probability, agreement, reliability."""
    from matplotlib.colors import ListedColormap

    panels.draw_input(axes[0], maps)
    image = axes[1].imshow(maps.probability, cmap="Blues", vmin=0, vmax=1, **NEAREST)
    panels.add_colorbar(axes[1], image, "probability of cloud (1)")
    agreement = np.select(
        [maps.true_cloudy & maps.retrieved_cloudy, maps.true_cloudy, maps.retrieved_cloudy], [1, 2, 3], 0
    )
    shown = np.where(maps.evaluated, agreement, len(AGREEMENT))
    classes = (*AGREEMENT, NOT_EVALUATED) if not maps.evaluated.all() else AGREEMENT
    colors = ListedColormap([color for _, color in (*AGREEMENT, NOT_EVALUATED)])
    axes[2].imshow(shown, cmap=colors, vmin=-0.5, vmax=len(AGREEMENT) + 0.5, **NEAREST)
    panels.add_legend(axes[2], classes)
    for axis, subject in zip(axes[1:], ("retrieval", "agreement"), strict=False):
        axis.set_title(f"Cloud mask: {subject}")
    panels.draw_reliability(axes[3], counts)


def draw_cot_row(axes: Any, maps: SceneMaps, counts: PixelCounts, scores: Scores) -> None:
    """Draw optical thickness: truth, retrieval, their ratio, all test pixels."""
    from matplotlib.colors import LogNorm

    scale, colors = LogNorm(*COT_RANGE), panels.light_to_dark("YlGnBu")
    for axis, values in zip(axes, (maps.true_cot, maps.cot_if_cloudy), strict=False):
        image = panels.draw_cloud_map(axis, values, colors, scale)
    panels.add_colorbar(axes[1], image, "optical thickness (1)", ticks=COT_TICKS)
    ratio = np.where(maps.evaluated, maps.cot / maps.true_cot, np.nan)
    image = panels.draw_cloud_map(axes[2], ratio, panels.error_colors(), LogNorm(0.125, 8), errors=maps)
    panels.add_colorbar(axes[2], image, "retrieved / true (1)", ticks=(0.125, 0.25, 0.5, 1, 2, 4, 8), extend="both")
    for axis, subject in zip(axes, ("truth", "retrieval", "ratio"), strict=False):
        axis.set_title(f"Optical thickness: {subject}")
    panels.draw_density(axes[3], counts.cot, COT_EDGES, "optical thickness (1)")
    axes[3].set(xscale="log", yscale="log", title=f"R$^2$ of log(1+COT) {format_score(scores.log_cot.r2)}")
    for axis in (axes[3].xaxis, axes[3].yaxis):
        axis.set_ticks(COT_TICKS, labels=[panels.format_tick(tick) for tick in COT_TICKS])
        axis.set_ticks([], minor=True)
    axes[3].set(xlim=(limits := occupied_range(counts.cot, COT_EDGES)), ylim=limits)
    panels.draw_means(axes[3], counts.cot, COT_EDGES, "mean truth by retrieved value", "o")
    if counts.mean_cot.any():
        panels.draw_means(axes[3], counts.mean_cot, COT_EDGES, "the same by retrieved mean", "D")


def draw_cer_row(axes: Any, maps: SceneMaps, counts: PixelCounts, scores: Scores) -> None:
    """Draw effective radius: truth, retrieval, their difference, all test pixels."""
    from matplotlib.colors import Normalize

    known_radius = maps.true_cer[np.isfinite(maps.true_cer)]
    # A few extreme droplet sizes would otherwise compress the color scale.
    low, high = np.percentile(known_radius, [1, 99]) if len(known_radius) else CER_RANGE
    scale, colors = Normalize(np.floor(low), np.ceil(high)), panels.light_to_dark("YlOrBr")
    for axis, values in zip(axes, (maps.true_cer, maps.cer_if_cloudy), strict=False):
        image = panels.draw_cloud_map(axis, values, colors, scale)
    panels.add_colorbar(axes[1], image, "effective radius (µm)", extend="both")
    error = np.where(maps.evaluated, maps.cer - maps.true_cer, np.nan)
    image = panels.draw_cloud_map(axes[2], error, panels.error_colors(), Normalize(-4, 4), errors=maps)
    panels.add_colorbar(axes[2], image, "retrieved - true (µm)", extend="both")
    for axis, subject in zip(axes, ("truth", "retrieval", "difference"), strict=False):
        axis.set_title(f"Effective radius: {subject}")
    panels.draw_density(axes[3], counts.cer, CER_EDGES, "effective radius (µm)")
    axes[3].set_title(f"R$^2$ {format_score(scores.cer.r2)},  RMSE {format_score(scores.cer.rmse)} µm")
    panels.draw_means(axes[3], counts.cer, CER_EDGES, "mean truth by retrieved value", "o")


def draw_extras_row(axes: Any, maps: SceneMaps, extras: Extras) -> None:
    """Draw mean optical thickness, water path, and the uncertainties of optical thickness and radius."""
    from matplotlib.colors import LogNorm, Normalize

    thickness, spread = panels.light_to_dark("YlGnBu"), panels.light_to_dark("Purples")
    # In log(1 + COT) half a width is the logarithm of a factor.
    factor, widest = np.exp(extras.log_cot_half_width), float(np.nanmax(extras.cer_half_width))
    drawn = (
        ("Mean optical thickness", extras.mean_cot, thickness, LogNorm(*COT_RANGE), "optical thickness (1)"),
        ("Liquid water path", extras.water_path, thickness, LogNorm(2, 2000), "g m$^{-2}$"),
        ("Uncertainty (68%) of 1 + COT", factor, spread, Normalize(1.0, 2.5), "factor (1)"),
        ("Uncertainty (68%) of CER", extras.cer_half_width, spread, Normalize(0.0, np.ceil(widest)), "\u00b1 µm"),
    )
    ticks = ((1, 5, 20, 100), (5, 20, 100, 500, 2000), (1, 1.5, 2, 2.5), ())
    for axis, (title, values, colors, scale, label), marks in zip(axes, drawn, ticks, strict=True):
        image = panels.draw_cloud_map(axis, np.where(maps.retrieved_cloudy, values, np.nan), colors, scale)
        panels.add_colorbar(axis, image, label, ticks=marks, below=True)
        axis.set_title(title)


def format_score(value: float | None) -> str:
    """Format a score with two digits; ``n/a`` for None."""
    return "n/a" if value is None else f"{value:.2f}"
