"""metrics.json and best.pt: what a run found, and how it was run."""

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

TITLES = {"none": "Source only", "coral": "DeepCORAL", "dan": "DAN (multi-kernel MMD)", "dann": "DANN"}
BACKEND_TITLES = {"horovod": "Horovod", "ddp": "torch.distributed"}
CHOSEN_BY = "highest source validation accuracy, the later epoch of equals; target labels have no part in it"


def method_title(options: Options) -> str:
    """The method in words."""
    if options.task == "images":
        return TITLES[options.method]
    aligned = "no alignment" if options.method == "none" else TITLES[options.method]
    return f"{aligned}, {'pairs without labels' if options.pair_weight else 'no pairs'}"


def headline(trained: TrainingResult, material: Dataset, others: Mapping[str, TrainingResult]) -> str:
    """The result in one line."""
    options, last = trained.options, trained.history[-1]
    names = COMPARISONS[options.task]
    beside = [f"{names[name]} {other.history[-1]['target_accuracy']:.3f}" for name, other in others.items()]
    if options.task == "sensors":
        beside.append(f"always the largest class {material.majority_class_accuracy:.3f}")
    known = f" ({', '.join(beside)})" if beside else ""
    return (
        f"{method_title(options)}, {options.source} -> {options.target}, {material.description}: "
        f"target accuracy {last['target_accuracy']:.3f}{known} after epoch {last['epoch']}"
    )


def metrics(
    trained: TrainingResult, material: Dataset, comm: Communicator, others: Mapping[str, TrainingResult]
) -> dict[str, Any]:
    """What goes to metrics.json; what differs between machines is kept apart under ``run``."""
    options = trained.options
    sensors = options.task == "sensors"
    fields = {name: getattr(options, name) for name in vars(options) if name not in ("data", "out", "weights")}
    best = {name: trained.best[name] for name in ("epoch", "source_accuracy", "target_accuracy")}
    return {
        "headline": headline(trained, material, others),
        "data": {
            "kind": material.kind,
            "source": options.source,
            "target": options.target,
            "classes": len(material.classes),
            material.row_name: material.counts,
        }
        | (
            {"class_names": list(material.classes), "largest_class": material.majority_class_accuracy}
            if sensors
            else {}
        ),
        "method": options.method,
        "final": without_speed(trained.history[-1]),
        "best": best | {"chosen_by": CHOSEN_BY, "weights_sha256": weights_digest(trained.best["weights"])},
        **{
            name: without_speed(others[name].history[-1]) if name in others else None
            for name in COMPARISONS[options.task]
        },
        "weights_sha256": trained.sha256,
        "ranks_agree": all(each.ranks_agree for each in (trained, *others.values())),
        "history": [without_speed(figures) for figures in trained.history],
        "run": {
            "backend": comm.backend,
            "size": comm.size,
            "device": device_name(material),
            f"{material.row_name}_per_second": [
                figures[f"{material.row_name}_per_second"] for figures in trained.history
            ],
            "options": fields | {"transfer_weight": options.weight},
            "versions": library_versions(comm),
        },
    }


def format_ranks(comm: Communicator) -> str:
    """``1 process``, or ranks and what they talk by."""
    if comm.backend == "none":
        return "1 process"
    return f"{comm.size} rank{'s' * (comm.size != 1)} over {BACKEND_TITLES[comm.backend]}"


def without_speed(figures: dict[str, Any]) -> dict[str, Any]:
    """An epoch's figures without its speed."""
    return {name: value for name, value in figures.items() if not name.endswith("_per_second")}


def device_name(material: Dataset) -> str:
    """What it ran on."""
    device = material.source_rows.device
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else f"{platform.machine()} CPU"


def library_versions(comm: Communicator) -> dict[str, str]:
    """Of what decides the result."""
    found = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }
    if comm.backend == "horovod":
        import horovod

        found["horovod"] = str(horovod.__version__)
    return found


def write_results(
    trained: TrainingResult, material: Dataset, comm: Communicator, others: Mapping[str, TrainingResult]
) -> dict[str, Any]:
    """Write both files to the output folder; what went to metrics.json."""
    out = trained.options.out
    facts = metrics(trained, material, comm, others)
    kept = {
        "task": trained.options.task,
        "net": trained.options.net,
        "classes": list(material.classes),
        "image_size": trained.options.image_size,
        "data_kind": material.kind,
    }
    torch.save(kept | trained.best, out / "best.pt.part")
    (out / "best.pt.part").replace(out / "best.pt")
    points.write_atomically(out / "metrics.json", (json.dumps(facts, indent=2) + "\n").encode())
    return facts
