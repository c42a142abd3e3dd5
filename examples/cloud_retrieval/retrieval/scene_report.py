"""metrics.json and the table at the end of a run."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval.pipeline import Options, Outcome

PACKAGES = ("numpy", "scikit-learn", "h5py", "dask", "distributed", "matplotlib")


def metrics(outcome: Outcome) -> dict[str, Any]:
    """Everything of metrics.json. ``run`` holds what differs from one run to the next; the rest does not."""
    return {
        "headline": headline(outcome),
        "data": data(outcome),
        "settings": settings(outcome.options),
        "scores": outcome.score.as_dict(),
        "per_scene": {name: score.as_dict() for name, score in sorted(outcome.per_scene.items())},
        "model": {"sha256": outcome.trained.digest, "nodes": outcome.trained.nodes},
        "predictions": {"sha256": outcome.prediction_digest},
        **circumstances(outcome, PACKAGES),
    }


def circumstances(outcome: Any, packages: Sequence[str]) -> dict[str, Any]:
    """Versions of Python and of packages, and what differs from one run to the next, for the report of either job."""
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "run": {
            "scheduler": outcome.options.scheduler or "none",
            "workers": outcome.team.workers,
            "threads": outcome.team.threads,
            "seconds": outcome.seconds,
        },
    }


def data(outcome: Outcome) -> dict[str, Any]:
    """Counts, and whether the data were made up."""
    sampled, score = outcome.sampled, outcome.score
    return {
        "kind": outcome.data,
        "judged_on": "scenes held out" if outcome.options.held_out else "tiles held out inside the training scenes",
        "training_scenes": len(sampled.infos),
        "training_scenes_pixels": sum(info.pixels for info in sampled.infos),
        "training_rows": sampled.rows,
        "training_rows_cloudy": sampled.cloudy_rows,
        "judged_scenes": len(outcome.per_scene),
        "judged_pixels": score.pixels,
        "features": outcome.options.cut.footprint.count,
        "buffer_pixels": 0 if outcome.options.held_out else outcome.options.cut.buffer,
    }


def settings(options: Options) -> dict[str, Any]:
    """The options that decide the result."""
    names = ("data", "held_out", "match", "trees", "depth", "rows", "blocks", "seed", "neighbourhood", "fold")
    return {name: getattr(options, name) for name in names}


def headline(outcome: Outcome) -> str:
    """One line for a log: the three scores and over what."""
    score = outcome.score
    where = "held-out scenes" if outcome.options.held_out else "held-out tiles"
    accuracy = score.as_dict()["cloud_mask"]["accuracy"]
    return (
        f"cloud mask accuracy {shown(accuracy)}   R2 log(1+COT) {shown(score.log_cot.r2, 2)}   "
        f"R2 CER {shown(score.cer.r2, 2)}   {where}, {score.pixels:,} pixels, {outcome.data} data"
    )


def table(outcome: Outcome) -> list[str]:
    """The lines a run ends with."""
    scores = outcome.score.as_dict()
    mask, cot, cer = (scores[name] for name in ("cloud_mask", "cloud_optical_thickness", "cloud_effective_radius"))
    over = f"over {scores['cloudy_pixels']:,} cloudy pixels"
    lines = [
        (
            "cloud mask accuracy",
            shown(mask["accuracy"]),
            f"always the larger class: {shown(mask['baseline_larger_class'])}",
        ),
        (
            "precision / recall",
            f"{shown(mask['precision'])} / {shown(mask['recall'])}",
            f"over {scores['judged_pixels']:,} pixels",
        ),
        (
            "R2 log(1+COT)",
            shown(cot["r2_log1p"]),
            f"{over}; a missed cloud as COT 0: {shown(cot['r2_log1p_as_masked'])}",
        ),
        (
            "RMSE log(1+COT) / COT",
            f"{shown(cot['rmse_log1p'])} / {shown(cot['rmse'], 1)}",
            f"bias of COT {shown(cot['bias'], 1)}",
        ),
        ("R2 CER", shown(cer["r2"]), over),
        ("RMSE CER", f"{shown(cer['rmse'], 2)} um", f"bias {shown(cer['bias'], 2)} um"),
    ]
    seconds = "  ".join(f"{name} {value:.1f}" for name, value in outcome.seconds.items())
    return [
        "",
        *(f"  {name:<22} {value:<15} {note}" for name, value, note in lines),
        f"  seconds                {seconds}",
        f"  model {outcome.trained.digest[:12]}   predictions {outcome.prediction_digest[:12]}   {outcome.data} data",
    ]


def shown(value: float | None, digits: int = 3) -> str:
    """A number, or ``n/a``."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def write(outcome: Outcome) -> None:
    """Write metrics.json to the output folder."""
    save(outcome.options.out, metrics(outcome))


def save(folder: Path, found: dict[str, Any]) -> None:
    """Write metrics.json, of either job, to a folder."""
    (folder / "metrics.json").write_text(f"{json.dumps(found, indent=2)}\n", encoding="utf-8")
