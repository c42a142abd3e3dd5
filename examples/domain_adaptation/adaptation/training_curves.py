"""curves.png: accuracies and losses over epochs, and sample images or the recall of each class of columns.

matplotlib is imported inside the functions that draw, so that a run that fails early does not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adaptation.training import COMPARISONS
from adaptation.training_report import method_title

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adaptation.dataset import Dataset
    from adaptation.training import TrainingResult

INK, GRID = "#222222", "#e3e6ea"
SOURCE, TARGET, ALONE, DIRECT, CHOSEN = "#7a8793", "#1f6f9f", "#c0562b", "#5b8c5a", "#222222"
#: Number of classes shown, and images of each.
ACROSS, EACH = 6, 2


def draw_figure(
    trained: TrainingResult, dataset: Dataset, comparisons: Mapping[str, TrainingResult], ranks: str
) -> None:
    """Write curves.png to the output folder.

    :param how: ranks and backend, for the title.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    options = trained.options
    style: Any = {"font.size": 10, "axes.titlesize": 11, "axes.edgecolor": INK, "axes.linewidth": 0.6}
    with plt.rc_context(style | {"axes.spines.top": False, "axes.spines.right": False}):
        figure: Any = plt.figure(figsize=(14.5, 5.1), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
        accuracy, loss, third = figure.subplots(1, 3, gridspec_kw={"width_ratios": (5, 4.4, 4.2)})
        draw_accuracies(accuracy, trained, dataset, comparisons)
        draw_losses(loss, trained)
        if options.task == "sensors":
            draw_recalls(third, trained, dataset, comparisons)
        else:
            draw_images(third, dataset, (options.source, options.target))
        figure.suptitle(
            f"{method_title(options)}, {options.source} → {options.target}, {dataset.description}, {ranks}", fontsize=13
        )
        figure.savefig(options.out / "curves.png", dpi=110)
        plt.close(figure)


def history_column(trained: TrainingResult, name: str) -> tuple[list[float], list[float]]:
    """Return epochs and one of their metrics."""
    return [row["epoch"] for row in trained.history], [row[name] for row in trained.history]


def draw_accuracies(
    axis: Any, trained: TrainingResult, dataset: Dataset, comparisons: Mapping[str, TrainingResult]
) -> None:
    """Draw source and target accuracy over epochs, the target accuracy of comparison runs, and the best epoch."""
    # Markers merge into a band when there are many epochs.
    marker = {"marker": "o", "ms": 3.5} if len(trained.history) <= 30 else {}
    if len(dataset.validation_indices):
        label = f"source, validation {dataset.row_name}"
        axis.plot(*history_column(trained, "source_accuracy"), color=SOURCE, label=label, **marker)
    label = f"target, {method_title(trained.options)}"
    axis.plot(*history_column(trained, "target_accuracy"), color=TARGET, lw=2, label=label, **marker)
    for (name, comparison), color in zip(comparisons.items(), (ALONE, DIRECT), strict=False):
        label = f"target, {COMPARISONS[trained.options.task][name]}"
        axis.plot(*history_column(comparison, "target_accuracy"), color=color, ls="--", label=label, **marker)
    best = trained.best
    axis.plot(
        *(best["epoch"], best["target_accuracy"]),
        **{"marker": "o", "ms": 11, "mfc": "none", "mec": CHOSEN, "ls": "none"},
        label="best.pt (chosen on source validation)" if len(dataset.validation_indices) else "best.pt (the last)",
    )
    axis.set(xlabel="epoch", ylabel=f"accuracy (share of {dataset.row_name})", ylim=(0, 1.02), title="Accuracy")
    style_axis(axis)
    axis.legend(frameon=False, fontsize=9, loc="best")


def draw_losses(axis: Any, trained: TrainingResult) -> None:
    """Draw class loss and, on its own scale, transfer loss over epochs."""
    lines = axis.plot(*history_column(trained, "class_loss"), color=SOURCE, label="cross entropy on the source (left)")
    axis.set(xlabel="epoch", ylabel="cross entropy (nat)", title="Losses")
    leave_room(axis)
    if trained.options.method != "none":
        # The transfer loss can be orders of magnitude smaller than cross entropy.
        right_axis = axis.twinx()
        right_axis.spines["right"].set_visible(True)
        lines += right_axis.plot(
            *history_column(trained, "transfer_loss"), color=TARGET, lw=2, label="transfer loss (right)"
        )
        right_axis.set_ylabel("transfer loss, unweighted (1)")
        leave_room(right_axis)
    style_axis(axis)
    axis.legend(handles=lines, frameon=False, fontsize=9, loc="upper right")


def leave_room(axis: Any) -> None:
    """Set the axis to start at 0, with room above the lines for the legend."""
    axis.set_ylim(0, 1.2 * (axis.get_ylim()[1] or 1))


def style_axis(axis: Any) -> None:
    """Add a light grid and integer epochs."""
    from matplotlib.ticker import MaxNLocator

    axis.grid(visible=True, color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_recalls(
    axis: Any, trained: TrainingResult, dataset: Dataset, comparisons: Mapping[str, TrainingResult]
) -> None:
    """Draw the recall of each class after the last epoch."""
    runs = {method_title(trained.options): trained} | {
        COMPARISONS["sensors"][name]: comparison for name, comparison in comparisons.items()
    }
    positions, height = np.arange(len(dataset.classes)), 0.8 / len(runs)
    for index, ((label, run), color) in enumerate(zip(runs.items(), (TARGET, ALONE, DIRECT), strict=False)):
        recalls = run.history[-1]["target_recall"]
        axis.barh(positions + (index - (len(runs) - 1) / 2) * height, recalls, height, color=color, label=label)
    counts = dataset.test_labels.bincount(minlength=len(positions)).tolist()
    names = [f"{name}\n{count:,}" for name, count in zip(dataset.classes, counts, strict=True)]
    axis.set(xlim=(0, 1), xlabel="recall", title=f"Classes of the test {dataset.row_name}")
    axis.set_yticks(positions, names)
    axis.invert_yaxis()
    axis.grid(visible=True, axis="x", color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def draw_images(axis: Any, dataset: Dataset, names: tuple[str, str]) -> None:
    """Draw some images of both domains, the same classes above and below."""
    classes = np.linspace(0, len(dataset.classes) - 1, min(ACROSS, len(dataset.classes))).astype(int)
    rows = []
    for images, labels in (
        (dataset.source_rows, dataset.source_labels),
        (dataset.test_rows, dataset.test_labels),
    ):
        for number in range(EACH):
            rows.append(torch.cat([pick_image(images, labels, int(label), number) for label in classes], dim=2))
    sheet = torch.cat(rows, dim=1).permute(1, 2, 0).cpu().numpy()
    axis.imshow(sheet, interpolation="nearest")
    height = sheet.shape[0]
    axis.axhline(height / 2 - 0.5, color="white", lw=4)
    axis.set(xticks=[], yticks=[height * 0.25, height * 0.75])
    axis.set_yticklabels(names, rotation=90, va="center")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(f"{dataset.description.capitalize()}, {len(dataset.classes)} classes")


def pick_image(images: torch.Tensor, labels: torch.Tensor, label: int, number: int) -> torch.Tensor:
    """Return the numbered image of a class, (3, s, s); the last one if there are fewer."""
    indices = torch.nonzero(labels == label).reshape(-1)
    position = min(number, len(indices) - 1)
    return images[indices[position : position + 1]][0]
