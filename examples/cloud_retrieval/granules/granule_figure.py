"""granules.png and granules.pdf: scores over the evaluated columns of all granules.

Confusion of phases, importance of each band, reliability of the probability of cloud, and the accuracy of each granule
with the bootstrap interval over granules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from retrieval.scene_figure import INK
from retrieval.scene_report import format_number

from granules import evaluation, granule_report, l2_product
from granules.caliop import CLASSES

if TYPE_CHECKING:
    from granules.pipeline import GranulesResult

BLUE, GRAY = "#2f6690", "#9aa3ad"


def draw_figure(result: GranulesResult) -> None:
    """Write granules.png and granules.pdf to the output folder; without evaluated columns no figure is drawn."""
    scores = evaluation.compute_scores(result.counts, result.options.seed)
    if not scores["cloud_mask"]["columns"]:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Without pyplot: its global state is not thread-safe, and the maps of a local run are drawn in threads.
    figure = Figure(figsize=(13.2, 9.6), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    draw_confusion(axes[0, 0], scores)
    draw_importance(axes[0, 1], result)
    draw_reliability(axes[1, 0], scores["calibration"])
    draw_accuracy_by_granule(axes[1, 1], result, scores)
    for axis in axes.ravel()[1:]:
        axis.spines[["top", "right"]].set_visible(False)
    suffix = {"synthetic": " - synthetic data", "mixed": " - partly synthetic data"}.get(result.data_kind, "")
    figure.suptitle(f"Cloud phase from VIIRS, evaluated with CALIPSO on held-out granules{suffix}", fontsize=14)
    figure.savefig(result.options.out / "granules.png", dpi=l2_product.PICTURE_DPI)
    figure.savefig(result.options.out / "granules.pdf", metadata={"CreationDate": None})


def draw_confusion(axis: Any, scores: dict[str, Any]) -> None:
    """Draw the share of each true class that is predicted as each class."""
    counts = np.array(scores["phase"]["confusion"], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    image = axis.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), value in np.ndenumerate(shares):
        text = f"{value:.2f}\n{int(counts[row, column]):,}"
        axis.text(column, row, text, ha="center", va="center", color="white" if value > 0.55 else INK, fontsize=10)
    axis.set_xticks(range(len(CLASSES)), CLASSES)
    axis.set_yticks(range(len(CLASSES)), CLASSES)
    axis.set(xlabel="predicted by the forest", ylabel="observed by the lidar")
    axis.figure.colorbar(image, ax=axis, label="share of the lidar's class (1)", shrink=0.85)
    interval = granule_report.format_interval(scores["phase"]["accuracy_95"])
    axis.set_title(f"Phase accuracy {format_number(scores['phase']['accuracy'])}{interval}")


def draw_importance(axis: Any, result: GranulesResult) -> None:
    """Draw the loss of accuracy when a group of features is permuted."""
    losses = granule_report.importance_section(result)
    names = list(losses)[::-1]
    axis.barh(names, [100.0 * (losses[name] or 0.0) for name in names], color=BLUE, height=0.7)
    axis.axvline(0.0, color=INK, lw=0.8)
    axis.tick_params(axis="y", labelsize=9)
    axis.set(xlabel="loss of accuracy when permuted (percentage points)")
    axis.set_title("Importance of each band with its neighborhood")


def draw_reliability(axis: Any, calibration: dict[str, Any]) -> None:
    """Draw the observed frequency of cloud against its predicted probability, and the distribution of probabilities."""
    # Bins of fewer columns are too noisy to show.
    populated = [number for number, pixels in enumerate(calibration["pixels"]) if pixels >= 10]
    stated, observed = ([calibration[part][number] for number in populated] for part in ("stated", "observed"))
    total = max(sum(calibration["pixels"]), 1)
    middles = (np.arange(evaluation.PROBABILITY_BINS) + 0.5) / evaluation.PROBABILITY_BINS
    axis.bar(middles, np.array(calibration["pixels"]) / total, width=0.09, color="#dde1e6", label="share of columns")
    axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls="--", label="perfect")
    axis.plot(stated, observed, "o-", color=BLUE, ms=5, label="forest")
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability of cloud (1)", ylabel="share that is cloudy (1)")
    error = format_number(calibration["expected_calibration_error"])
    axis.set_title(f"Reliability: Brier score {format_number(calibration['brier'])}, expected error {error}")
    axis.legend(frameon=False, loc="upper left", fontsize=9)


def draw_accuracy_by_granule(axis: Any, result: GranulesResult, scores: dict[str, Any]) -> None:
    """Draw the accuracy of each granule; bands are the intervals over all granules."""
    rows = granule_report.per_granule_section(result)
    positions = np.arange(len(rows))
    for part, key, color, shape in (
        ("phase", "phase_accuracy", BLUE, "o"),
        ("cloud_mask", "cloud_mask_accuracy", "#f0a030", "s"),
    ):
        values = [np.nan if row[key] is None else row[key] for row in rows.values()]
        axis.plot(values, positions, shape, color=color, ms=6, label=part.replace("_", " "))
        if scores[part]["accuracy_95"]:
            axis.axvspan(*scores[part]["accuracy_95"], color=color, alpha=0.15, lw=0)
        axis.axvline(scores[part]["accuracy"], color=color, lw=1.0)
    axis.set_yticks(positions, [f"{key} ({row['matched']:,})" for key, row in rows.items()], fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel="accuracy (1)", ylabel="granule (matched columns)")
    axis.set_title("By granule; bands: 95 % bootstrap interval over granules")
    axis.legend(frameon=False, fontsize=9, loc="best")
