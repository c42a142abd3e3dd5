"""metrics.json and best.pt: the results of a run and its environment."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any

import numpy
import PIL
import torch

from adaptation import checkpoint as points
from adaptation.trainer import weights_digest
from adaptation.training import COMPARISONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adaptation.dataset import Dataset
    from adaptation.distributed import Communicator
    from adaptation.options import Options
    from adaptation.training import TrainingResult

TITLES = {
    "none": "Source only",
    "coral": "DeepCORAL",
    "dan": "DAN (multi-kernel MMD)",
    "dann": "DANN",
    "cdan": "CDAN",
    "mcc": "MCC",
}
BACKEND_TITLES = {"horovod": "Horovod", "ddp": "torch.distributed"}
CHOSEN_BY = "highest source validation accuracy, the later epoch of equals; target labels are not used"

LAST = "the last epoch: no source images were held out"


def method_title(options: Options) -> str:
    """Return the title of the method."""
    if options.task == "images":
        return TITLES[options.method]
    aligned = "no alignment" if options.method == "none" else TITLES[options.method]
    return f"{aligned}, {'pairs without labels' if options.pair_weight else 'no pairs'}"


def headline(trained: TrainingResult, dataset: Dataset, comparisons: Mapping[str, TrainingResult]) -> str:
    """Return the result in one line."""
    options, last = trained.options, trained.history[-1]
    titles = COMPARISONS[options.task]
    figures = [
        f"{titles[name]} {comparison.history[-1]['target_accuracy']:.3f}" for name, comparison in comparisons.items()
    ]
    if options.task == "sensors":
        figures.append(f"majority-class baseline {dataset.majority_class_accuracy:.3f}")
    suffix = f" ({', '.join(figures)})" if figures else ""
    return (
        f"{method_title(options)}, {options.source} -> {options.target}, {dataset.description}: "
        f"target accuracy {last['target_accuracy']:.3f}{suffix} after epoch {last['epoch']}"
    )


def metrics(
    trained: TrainingResult, dataset: Dataset, comm: Communicator, comparisons: Mapping[str, TrainingResult]
) -> dict[str, Any]:
    """Return the content of metrics.json; everything that differs between machines is under ``run``."""
    options = trained.options
    sensors = options.task == "sensors"
    # Paths differ between machines and say nothing about the result.
    option_values = {name: getattr(options, name) for name in vars(options) if name not in ("data", "out", "weights")}
    best = {name: trained.best[name] for name in ("epoch", "source_accuracy", "target_accuracy")}
    return {
        "headline": headline(trained, dataset, comparisons),
        "data": {
            "kind": dataset.kind,
            "source": options.source,
            "target": options.target,
            "classes": len(dataset.classes),
            dataset.row_name: dataset.counts,
        }
        | ({"class_names": list(dataset.classes), "largest_class": dataset.majority_class_accuracy} if sensors else {}),
        "method": options.method,
        "final": without_speed(trained.history[-1]),
        "best": best
        | {
            "chosen_by": CHOSEN_BY if len(dataset.validation_indices) else LAST,
            "weights_sha256": weights_digest(trained.best["weights"]),
        },
        **{
            name: without_speed(comparisons[name].history[-1]) if name in comparisons else None
            for name in COMPARISONS[options.task]
        },
        "weights_sha256": trained.sha256,
        "ranks_agree": all(result.ranks_agree for result in (trained, *comparisons.values())),
        "history": [without_speed(epoch) for epoch in trained.history],
        "run": {
            "backend": comm.backend,
            "size": comm.size,
            "device": device_name(dataset),
            f"{dataset.row_name}_per_second": [epoch[f"{dataset.row_name}_per_second"] for epoch in trained.history],
            "options": option_values | {"transfer_weight": options.weight},
            "versions": library_versions(comm),
        },
    }


def format_ranks(comm: Communicator) -> str:
    """Return ``1 process``, or the number of ranks and their backend."""
    if comm.backend == "none":
        return "1 process"
    return f"{comm.size} rank{'s' * (comm.size != 1)} over {BACKEND_TITLES[comm.backend]}"


def without_speed(epoch: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of an epoch without its speed."""
    return {name: value for name, value in epoch.items() if not name.endswith("_per_second")}


def device_name(dataset: Dataset) -> str:
    """Return the name of the device."""
    device = dataset.source_rows.device
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else f"{platform.machine()} CPU"


def library_versions(comm: Communicator) -> dict[str, str]:
    """Return the versions of everything that determines the result."""
    versions = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }
    # Without Horovod the package may be missing.
    if comm.backend == "horovod":
        import horovod

        versions["horovod"] = str(horovod.__version__)
    return versions


def write_results(
    trained: TrainingResult, dataset: Dataset, comm: Communicator, comparisons: Mapping[str, TrainingResult]
) -> dict[str, Any]:
    """Write both files to the output folder; return the content of metrics.json."""
    out = trained.options.out
    content = metrics(trained, dataset, comm, comparisons)
    model_info = {
        "task": trained.options.task,
        "net": trained.options.net,
        "classes": list(dataset.classes),
        "image_size": trained.options.image_size,
        "data_kind": dataset.kind,
    }
    # Renamed at the end, so that an interrupted run never leaves an incomplete file.
    torch.save(model_info | trained.best, out / "best.pt.part")
    (out / "best.pt.part").replace(out / "best.pt")
    points.write_atomically(out / "metrics.json", (json.dumps(content, indent=2) + "\n").encode())
    return content
