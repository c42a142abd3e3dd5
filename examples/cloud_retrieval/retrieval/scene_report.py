"""metrics.json and the table at the end of a run."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval.pipeline import Options, RetrievalResult

PACKAGES = ("numpy", "scikit-learn", "h5py", "dask", "distributed", "matplotlib")


def metrics(outcome: RetrievalResult) -> dict[str, Any]:
    """Everything of metrics.json. ``run`` holds what differs from one run to the next; the rest does not."""
    return {
        "headline": headline(outcome),
        "data": data_section(outcome),
        "settings": settings_section(outcome.options),
        "scores": outcome.scores.as_dict(),
        "per_scene": {name: score.as_dict() for name, score in sorted(outcome.per_scene.items())},
        "model": {"sha256": outcome.trained.digest, "nodes": outcome.trained.nodes},
        "predictions": {"sha256": outcome.prediction_digest},
        **run_details(outcome, PACKAGES),
    }


def run_details(outcome: Any, packages: Sequence[str]) -> dict[str, Any]:
    """Versions of Python and of packages, and what differs from one run to the next, for the report of either job."""
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "run": {
            "scheduler": outcome.options.scheduler or "none",
            "workers": outcome.client.workers,
            "threads": outcome.client.threads,
            "seconds": outcome.seconds,
        },
    }


def data_section(outcome: RetrievalResult) -> dict[str, Any]:
    """Counts, and whether the data were made up."""
    sampled, score = outcome.sampled, outcome.scores
    return {
        "kind": outcome.data_kind,
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


def settings_section(options: Options) -> dict[str, Any]:
    """The options that decide the result."""
    names = ("data", "held_out", "match", "trees", "depth", "rows", "blocks", "seed", "neighbourhood", "fold")
    return {name: getattr(options, name) for name in names}


def headline(outcome: RetrievalResult) -> str:
    """One line for a log: the three scores and over what."""
    score = outcome.scores
    where = "held-out scenes" if outcome.options.held_out else "held-out tiles"
    accuracy = score.as_dict()["cloud_mask"]["accuracy"]
    return (
        f"cloud mask accuracy {format_number(accuracy)}   R2 log(1+COT) {format_number(score.log_cot.r2, 2)}   "
        f"R2 CER {format_number(score.cer.r2, 2)}   {where}, {score.pixels:,} pixels, {outcome.data_kind} data"
    )


def summary_lines(outcome: RetrievalResult) -> list[str]:
    """The lines a run ends with."""
    scores = outcome.scores.as_dict()
    mask, cot, cer = (scores[name] for name in ("cloud_mask", "cloud_optical_thickness", "cloud_effective_radius"))
    over = f"over {scores['cloudy_pixels']:,} cloudy pixels"
    lines = [
        (
            "cloud mask accuracy",
            format_number(mask["accuracy"]),
            f"always the larger class: {format_number(mask['baseline_larger_class'])}",
        ),
        (
            "precision / recall",
            f"{format_number(mask['precision'])} / {format_number(mask['recall'])}",
            f"over {scores['judged_pixels']:,} pixels",
        ),
        (
            "R2 log(1+COT)",
            format_number(cot["r2_log1p"]),
            f"{over}; a missed cloud as COT 0: {format_number(cot['r2_log1p_as_masked'])}",
        ),
        (
            "RMSE log(1+COT) / COT",
            f"{format_number(cot['rmse_log1p'])} / {format_number(cot['rmse'], 1)}",
            f"bias of COT {format_number(cot['bias'], 1)}",
        ),
        ("R2 CER", format_number(cer["r2"]), over),
        ("RMSE CER", f"{format_number(cer['rmse'], 2)} um", f"bias {format_number(cer['bias'], 2)} um"),
    ]
    seconds = "  ".join(f"{name} {value:.1f}" for name, value in outcome.seconds.items())
    return [
        "",
        *(f"  {name:<22} {value:<15} {note}" for name, value, note in lines),
        f"  seconds                {seconds}",
        f"  model {outcome.trained.digest[:12]}   "
        f"predictions {outcome.prediction_digest[:12]}   {outcome.data_kind} data",
    ]


def format_number(value: float | None, digits: int = 3) -> str:
    """A number, or ``n/a``."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def write_metrics(outcome: RetrievalResult) -> None:
    """Write metrics.json to the output folder."""
    save_metrics(outcome.options.out, metrics(outcome))


def save_metrics(folder: Path, found: dict[str, Any]) -> None:
    """Write metrics.json, of either job, to a folder."""
    (folder / "metrics.json").write_text(f"{json.dumps(found, indent=2)}\n", encoding="utf-8")
