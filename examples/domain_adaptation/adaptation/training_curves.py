"""curves.png: how the training went, and what the images look like, or how well each class of columns is told.

matplotlib is imported by the functions that draw: a run that ends in an error does not wait for it.
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
#: Classes and images of each that are shown.
ACROSS, EACH = 6, 2


def draw_figure(trained: TrainingResult, material: Dataset, others: Mapping[str, TrainingResult], how: str) -> None:
    """Write curves.png to the output folder.

    :param how: ranks and backend, for the title.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    options = trained.options
    look: Any = {"font.size": 10, "axes.titlesize": 11, "axes.edgecolor": INK, "axes.linewidth": 0.6}
    with plt.rc_context(look | {"axes.spines.top": False, "axes.spines.right": False}):
        figure: Any = plt.figure(figsize=(14.5, 5.1), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
        accuracy, loss, third = figure.subplots(1, 3, gridspec_kw={"width_ratios": (5, 4.4, 4.2)})
        draw_accuracies(accuracy, trained, material, others)
        draw_losses(loss, trained)
        if options.task == "sensors":
            draw_recalls(third, trained, material, others)
        else:
            draw_images(third, material, (options.source, options.target))
        figure.suptitle(
            f"{method_title(options)}, {options.source} → {options.target}, {material.description}, {how}", fontsize=13
        )
        figure.savefig(options.out / "curves.png", dpi=110)
        plt.close(figure)


def history_column(trained: TrainingResult, name: str) -> tuple[list[float], list[float]]:
    """Epochs and one of their figures."""
    return [row["epoch"] for row in trained.history], [row[name] for row in trained.history]


def draw_accuracies(
    axis: Any, trained: TrainingResult, material: Dataset, others: Mapping[str, TrainingResult]
) -> None:
    """Source and target accuracy over epochs, the target accuracy of what it is compared with, and the chosen epoch."""
    mark = {"marker": "o", "ms": 3.5} if len(trained.history) <= 30 else {}
    axis.plot(
        *history_column(trained, "source_accuracy"),
        color=SOURCE,
        label=f"source, validation {material.row_name}",
        **mark,
    )
    label = f"target, {method_title(trained.options)}"
    axis.plot(*history_column(trained, "target_accuracy"), color=TARGET, lw=2, label=label, **mark)
    for (name, other), colour in zip(others.items(), (ALONE, DIRECT), strict=False):
        label = f"target, {COMPARISONS[trained.options.task][name]}"
        axis.plot(*history_column(other, "target_accuracy"), color=colour, ls="--", label=label, **mark)
    best = trained.best
    axis.plot(
        *(best["epoch"], best["target_accuracy"]),
        **{"marker": "o", "ms": 11, "mfc": "none", "mec": CHOSEN, "ls": "none"},
        label="best.pt (chosen on source validation)",
    )
    axis.set(xlabel="epoch", ylabel=f"accuracy (share of {material.row_name})", ylim=(0, 1.02), title="Accuracy")
    style_axis(axis)
    axis.legend(frameon=False, fontsize=9, loc="best")


def draw_losses(axis: Any, trained: TrainingResult) -> None:
    """Class loss and, on its own scale, transfer loss over epochs."""
    lines = axis.plot(*history_column(trained, "class_loss"), color=SOURCE, label="cross entropy on the source (left)")
    axis.set(xlabel="epoch", ylabel="cross entropy (nat)", title="Losses")
    leave_room(axis)
    if trained.options.method != "none":
        other = axis.twinx()
        other.spines["right"].set_visible(True)
        lines += other.plot(
            *history_column(trained, "transfer_loss"), color=TARGET, lw=2, label="transfer loss (right)"
        )
        other.set_ylabel("transfer loss, unweighted (1)")
        leave_room(other)
    style_axis(axis)
    axis.legend(handles=lines, frameon=False, fontsize=9, loc="upper right")


def leave_room(axis: Any) -> None:
    """From 0 up, with room above the lines for a legend that knows nothing of the other scale's."""
    axis.set_ylim(0, 1.2 * (axis.get_ylim()[1] or 1))


def style_axis(axis: Any) -> None:
    """A light grid and whole epochs."""
    from matplotlib.ticker import MaxNLocator

    axis.grid(visible=True, color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_recalls(axis: Any, trained: TrainingResult, material: Dataset, others: Mapping[str, TrainingResult]) -> None:
    """Share of each class's columns that are told, after the last epoch."""
    runs = {method_title(trained.options): trained} | {
        COMPARISONS["sensors"][name]: other for name, other in others.items()
    }
    places, height = np.arange(len(material.classes)), 0.8 / len(runs)
    for turn, ((label, run), colour) in enumerate(zip(runs.items(), (TARGET, ALONE, DIRECT), strict=False)):
        shares = run.history[-1]["target_recall"]
        axis.barh(places + (turn - (len(runs) - 1) / 2) * height, shares, height, color=colour, label=label)
    counts = material.test_labels.bincount(minlength=len(places)).tolist()
    names = [f"{name}\n{count:,}" for name, count in zip(material.classes, counts, strict=True)]
    axis.set(xlim=(0, 1), xlabel="share told", title=f"Classes of the {material.row_name} to judge on")
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.grid(visible=True, axis="x", color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def draw_images(axis: Any, material: Dataset, names: tuple[str, str]) -> None:
    """Some images of both domains, the same classes above and below."""
    classes = np.linspace(0, len(material.classes) - 1, min(ACROSS, len(material.classes))).astype(int)
    rows = []
    for images, labels in (
        (material.source_rows, material.source_labels),
        (material.test_rows, material.test_labels),
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
    axis.set_title(f"{material.description.capitalize()}, {len(material.classes)} classes")


def pick_image(images: torch.Tensor, labels: torch.Tensor, label: int, number: int) -> torch.Tensor:
    """The numbered image of a class, (3, s, s); the last where there are fewer."""
    found = torch.nonzero(labels == label).reshape(-1)
    return images[found[min(number, len(found) - 1)]]
