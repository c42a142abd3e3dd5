"""metrics.json and best.pt: what a run found, and how it was run."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any

import numpy
import PIL
import torch

from adaptation import progress as points
from adaptation.session import digest

if TYPE_CHECKING:
    from adaptation.comm import Comm
    from adaptation.material import Material
    from adaptation.training import Trained

TITLES = {"none": "Source only", "coral": "DeepCORAL", "dan": "DAN (multi-kernel MMD)", "dann": "DANN"}
BACKENDS = {"horovod": "Horovod", "ddp": "torch.distributed"}
#: Said wherever a figure stands.
DATA = {"synthetic": "synthetic images", "files": "images from files"}
CHOSEN_BY = "highest source validation accuracy, the later epoch of equals; target labels have no part in it"


def headline(trained: Trained, material: Material, baseline: Trained | None) -> str:
    """The result in one line."""
    options, last = trained.options, trained.history[-1]
    alone = f" (source only {baseline.history[-1]['target_accuracy']:.3f})" if baseline else ""
    return (
        f"{TITLES[options.method]}, {options.source} -> {options.target}, {DATA[material.kind]}: "
        f"target accuracy {last['target_accuracy']:.3f}{alone} after epoch {last['epoch']}"
    )


def metrics(trained: Trained, material: Material, comm: Comm, baseline: Trained | None) -> dict[str, Any]:
    """What goes to metrics.json; what differs between machines is kept apart under ``run``."""
    options = trained.options
    fields = {name: getattr(options, name) for name in vars(options) if name not in ("data", "out", "weights")}
    best = {name: trained.best[name] for name in ("epoch", "source_accuracy", "target_accuracy")}
    return {
        "headline": headline(trained, material, baseline),
        "data": {
            "kind": material.kind,
            "source": options.source,
            "target": options.target,
            "classes": len(material.classes),
            "images": material.counts,
        },
        "method": options.method,
        "final": deterministic(trained.history[-1]),
        "best": best | {"chosen_by": CHOSEN_BY, "weights_sha256": digest(trained.best["weights"])},
        "source_only": deterministic(baseline.history[-1]) if baseline else None,
        "weights_sha256": trained.sha256,
        "ranks_agree": trained.agree and (baseline is None or baseline.agree),
        "history": [deterministic(figures) for figures in trained.history],
        "run": {
            "backend": comm.backend,
            "size": comm.size,
            "device": device_name(material),
            "images_per_second": [figures["images_per_second"] for figures in trained.history],
            "options": fields | {"transfer_weight": options.weight},
            "versions": versions(comm),
        },
    }


def how(comm: Comm) -> str:
    """``1 process``, or ranks and what they talk by."""
    if comm.backend == "none":
        return "1 process"
    return f"{comm.size} rank{'s' * (comm.size != 1)} over {BACKENDS[comm.backend]}"


def deterministic(figures: dict[str, Any]) -> dict[str, Any]:
    """An epoch's figures without its speed."""
    return {name: value for name, value in figures.items() if name != "images_per_second"}


def device_name(material: Material) -> str:
    """What it ran on."""
    device = material.source_images.device
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else f"{platform.machine()} CPU"


def versions(comm: Comm) -> dict[str, str]:
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


def write(trained: Trained, material: Material, comm: Comm, baseline: Trained | None) -> dict[str, Any]:
    """Write both files to the output folder; what went to metrics.json."""
    out = trained.options.out
    facts = metrics(trained, material, comm, baseline)
    kept = {
        "net": trained.options.net,
        "classes": list(material.classes),
        "image_size": trained.options.image_size,
        "data_kind": material.kind,
    }
    torch.save(kept | trained.best, out / "best.pt.part")
    (out / "best.pt.part").replace(out / "best.pt")
    points.write(out / "metrics.json", (json.dumps(facts, indent=2) + "\n").encode())
    return facts
