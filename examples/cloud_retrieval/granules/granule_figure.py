"""granules.png: how the judged columns of all granules fare.

Confusion of phases, what each band is worth, reliability of the probability of cloud, and the accuracy of each
granule with the interval that drawing granules gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from retrieval.scene_figure import INK
from retrieval.scene_report import format_number

from granules import evaluation, granule_report
from granules.caliop import CLASSES

if TYPE_CHECKING:
    from granules.pipeline import GranulesResult

BLUE, GRAY = "#2f6690", "#9aa3ad"


def draw_figure(outcome: GranulesResult) -> None:
    """Write granules.png to the output folder; where nothing was judged there is nothing to draw."""
    found = evaluation.compute_scores(outcome.counts, outcome.options.seed)
    if not found["cloud_mask"]["columns"]:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(13.2, 9.6), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    draw_confusion(axes[0, 0], found)
    draw_importance(axes[0, 1], outcome)
    draw_reliability(axes[1, 0], found["calibration"])
    draw_accuracy_by_granule(axes[1, 1], outcome, found)
    for axis in axes.ravel()[1:]:
        axis.spines[["top", "right"]].set_visible(False)
    made_up = {"synthetic": " - synthetic data", "mixed": " - partly synthetic data"}.get(outcome.data_kind, "")
    figure.suptitle(f"Cloud phase from VIIRS, judged by CALIPSO on granules held out{made_up}", fontsize=14)
    figure.savefig(outcome.options.out / "granules.png")


def draw_confusion(axis: Any, found: dict[str, Any]) -> None:
    """Share of each true class that is told as each."""
    counts = np.array(found["phase"]["confusion"], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    image = axis.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), value in np.ndenumerate(shares):
        text = f"{value:.2f}\n{int(counts[row, column]):,}"
        axis.text(column, row, text, ha="center", va="center", color="white" if value > 0.55 else INK, fontsize=10)
    axis.set_xticks(range(len(CLASSES)), CLASSES)
    axis.set_yticks(range(len(CLASSES)), CLASSES)
    axis.set(xlabel="told by the forest", ylabel="seen by the lidar")
    axis.figure.colorbar(image, ax=axis, label="share of the lidar's class (1)", shrink=0.85)
    interval = granule_report.format_interval(found["phase"]["accuracy_95"])
    axis.set_title(f"Phase accuracy {format_number(found['phase']['accuracy'])}{interval}")


def draw_importance(axis: Any, outcome: GranulesResult) -> None:
    """Loss of accuracy when a group of features is shuffled."""
    worth = granule_report.importance_section(outcome)
    names = list(worth)[::-1]
    axis.barh(names, [100.0 * (worth[name] or 0.0) for name in names], color=BLUE, height=0.7)
    axis.axvline(0.0, color=INK, lw=0.8)
    axis.tick_params(axis="y", labelsize=9)
    axis.set(xlabel="accuracy lost when shuffled (percentage points)")
    axis.set_title("What each band, with its neighbourhood, is worth")


def draw_reliability(axis: Any, found: dict[str, Any]) -> None:
    """How often columns of a stated probability are cloudy, and how many there are."""
    enough = [number for number, pixels in enumerate(found["pixels"]) if pixels >= 10]
    stated, observed = ([found[part][number] for number in enough] for part in ("stated", "observed"))
    total = max(sum(found["pixels"]), 1)
    middles = (np.arange(evaluation.PROBABILITY_BINS) + 0.5) / evaluation.PROBABILITY_BINS
    axis.bar(middles, np.array(found["pixels"]) / total, width=0.09, color="#dde1e6", label="share of columns")
    axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls="--", label="perfect")
    axis.plot(stated, observed, "o-", color=BLUE, ms=5, label="forest")
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="stated probability of cloud (1)", ylabel="share that is cloudy (1)")
    error = format_number(found["expected_calibration_error"])
    axis.set_title(f"Reliability: Brier score {format_number(found['brier'])}, expected error {error}")
    axis.legend(frameon=False, loc="upper left", fontsize=9)


def draw_accuracy_by_granule(axis: Any, outcome: GranulesResult, found: dict[str, Any]) -> None:
    """Accuracy of each granule; the band is the interval of all together."""
    rows = granule_report.per_granule_section(outcome)
    places = np.arange(len(rows))
    for part, key, colour, shape in (
        ("phase", "phase_accuracy", BLUE, "o"),
        ("cloud_mask", "cloud_mask_accuracy", "#f0a030", "s"),
    ):
        values = [np.nan if row[key] is None else row[key] for row in rows.values()]
        axis.plot(values, places, shape, color=colour, ms=6, label=part.replace("_", " "))
        if found[part]["accuracy_95"]:
            axis.axvspan(*found[part]["accuracy_95"], color=colour, alpha=0.15, lw=0)
        axis.axvline(found[part]["accuracy"], color=colour, lw=1.0)
    axis.set_yticks(places, [f"{key} ({row['matched']:,})" for key, row in rows.items()], fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel="accuracy (1)", ylabel="granule (matched columns)")
    axis.set_title("By granule; bands: 95 % when granules are drawn anew")
    axis.legend(frameon=False, fontsize=9, loc="best")
