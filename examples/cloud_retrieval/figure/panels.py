"""Maps and scatters with their scales, in colors that differ in lightness as well as in hue.

Scales run from light to dark, so that thin cloud is next to the white of clear sky, also in print without colors.

matplotlib is imported inside the functions that draw, so that a run that fails early does not load it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figure.scene_maps import (
    PROBABILITY_EDGES,
    PixelCounts,
    Plane,
    SceneMaps,
    conditional_means,
    occupied_range,
    sun_side,
)

INK, CLEAR, EXCLUDED = "#222222", "#ffffff", "#d3d8de"
SMALL = 8
LABEL_BOX: dict[str, Any] = {"facecolor": INK, "alpha": 0.8, "linewidth": 0, "pad": 1.5}
NEAREST: dict[str, Any] = {"interpolation": "nearest"}
# Dark blue is too low and orange too high; in gray, the one is darker than the other.
TOO_LOW_TO_TOO_HIGH = ("#08214f", "#3a76b5", "#f2f2f2", "#f7a758", "#d1600a")


def light_to_dark(name: str) -> Any:
    """Return a color map of matplotlib without its lightest part, which is invisible on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps[name](np.linspace(0.2, 1.0, 256)))


def error_colors() -> Any:
    """Return the color map of errors."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("errors", TOO_LOW_TO_TOO_HIGH)


def draw_input(axis: Any, maps: SceneMaps) -> None:
    """Draw the reflectance at 0.66 um with true clouds outlined, a scale bar, and an arrow towards the sun."""
    brightest = float(np.percentile(maps.reflectance, 99))
    axis.imshow(maps.reflectance, cmap="gray", vmin=0.0, vmax=brightest, **NEAREST)
    if maps.true_cloudy.any() and not maps.true_cloudy.all():
        axis.contour(maps.true_cloudy, levels=[0.5], colors="#ffcf40", linewidths=0.6)
    axis.set_title(f"Reflectance at 0.66 µm, 0 to {brightest:.1f}")
    draw_scale_bar(axis, maps)
    if side := sun_side(maps):
        text = "\u2190 to the sun" if side < 0 else "to the sun \u2192"
        axis.text(0.04, 0.95, text, color="white", va="top", fontsize=SMALL, transform=axis.transAxes, bbox=LABEL_BOX)


def draw_scale_bar(axis: Any, maps: SceneMaps) -> None:
    """Draw a bar of about a quarter of the scene's width, in km if the size of a pixel is known."""
    unit, size = ("km", maps.pixel_km) if maps.pixel_km else ("pixels", 1.0)
    quarter = maps.reflectance.shape[1] * size / 4.0
    length = max((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if step <= quarter), default=quarter)
    share = length / (4.0 * quarter)
    axis.plot([0.04, 0.04 + share], [0.04] * 2, color="white", lw=2.5, transform=axis.transAxes, solid_capstyle="butt")
    label = f"{length:g} {unit}"
    axis.text(0.04, 0.06, label, color="white", va="bottom", fontsize=SMALL, transform=axis.transAxes, bbox=LABEL_BOX)


def add_legend(axis: Any, classes: tuple[tuple[str, str], ...]) -> None:
    """Add a legend of classes to the right of a map, in the place of the color scale."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=color, edgecolor=INK, linewidth=0.5, label=name) for name, color in classes]
    axis.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.01),
        frameon=False,
        fontsize=SMALL - 1,
        handlelength=1.0,
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
        ms=4,
        label="retrieval",
    )
    axis.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="predicted probability of cloud (1)",
        ylabel="observed share of cloud (1)",
    )
    axis.set_title(f"Reliability, {int(counts.by_probability.sum()):,} test pixels")
    axis.legend(frameon=False, loc="upper left", fontsize=SMALL)
    axis.set_box_aspect(1)


def draw_cloud_map(axis: Any, values: Plane, colors: Any, scale: Any, *, errors: SceneMaps | None = None) -> Any:
    """Draw a map of cloudy pixels; with ``errors``, pixels that are not tested are gray, true clouds outlined."""
    from matplotlib.colors import ListedColormap

    background = np.ones(values.shape, bool) if errors is None else errors.evaluated
    axis.imshow(background, cmap=ListedColormap([EXCLUDED, CLEAR]), vmin=0, vmax=1, **NEAREST)
    if errors is not None and (errors.true_cloudy & errors.evaluated).any():
        axis.contour(errors.true_cloudy & errors.evaluated, levels=[0.5], colors="#9aa3ad", linewidths=0.4)
    return axis.imshow(values, cmap=colors, norm=scale, **NEAREST)


def add_colorbar(
    axis: Any, image: Any, label: str, *, ticks: tuple[float, ...] = (), extend: str = "neither", below: bool = False
) -> None:
    """Add a color scale with its unit beside a map or below it."""
    place, orientation = ((0.0, -0.1, 1.0, 0.05), "horizontal") if below else ((1.03, 0.0, 0.05, 1.0), "vertical")
    scale = axis.figure.colorbar(image, cax=axis.inset_axes(place), label=label, extend=extend, orientation=orientation)
    if ticks:
        scale.set_ticks(ticks, labels=[format_tick(tick) for tick in ticks])
        scale.ax.minorticks_off()


def format_tick(tick: float) -> str:
    """Return ``1/4`` for 0.25, otherwise the number."""
    return f"1/{1 / tick:.0f}" if tick in (0.125, 0.25, 0.5) else f"{tick:g}"


def draw_density(axis: Any, counts: Plane, edges: Plane, label: str) -> None:
    """Draw retrieval against truth of all cloudy test pixels."""
    from matplotlib.colors import LogNorm

    top = max(float(counts.max()), 2.0)
    norm, blues = LogNorm(1, top), light_to_dark("Blues")
    image = axis.pcolormesh(edges, edges, np.where(counts > 0, counts, np.nan).T, cmap=blues, norm=norm)
    axis.plot(edges[[0, -1]], edges[[0, -1]], color=INK, lw=0.8, ls="--")
    limits = occupied_range(counts, edges)
    axis.set(xlabel=f"true {label}", ylabel=f"retrieved {label}", xlim=limits, ylim=limits)
    axis.set_box_aspect(1)
    ticks = tuple(tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000, 100_000) if tick <= top)
    add_colorbar(axis, image, "test pixels per bin", ticks=ticks)


def draw_means(axis: Any, counts: Plane, edges: Plane, label: str, marker: str) -> None:
    """Draw the mean truth of bins of retrieved value: on the diagonal if there is no bias."""
    truth, retrieved = conditional_means(counts, edges)
    face = "white" if marker == "o" else "#ffcf40"
    axis.plot(truth, retrieved, marker, color=face, mec=INK, mew=1.0, ms=5, label=label, ls="")
    axis.legend(frameon=False, loc="upper left", fontsize=SMALL - 1, handletextpad=0.1, borderaxespad=0.2)


def finish_map(axis: Any, maps: SceneMaps) -> None:
    """Remove ticks (pixel indices carry no information) and outline the test tiles."""
    axis.set(xticks=[], yticks=[])
    if not maps.evaluated.all():
        axis.contour(maps.evaluated, levels=[0.5], colors=INK, linewidths=0.8)
