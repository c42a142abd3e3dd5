"""metrics.json and the summary at the end of a run."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval.pipeline import Options, RetrievalResult

PACKAGES = ("numpy", "scikit-learn", "h5py", "dask", "distributed", "matplotlib")


def metrics(result: RetrievalResult) -> dict[str, Any]:
    """Return the content of metrics.json; ``run`` holds everything that differs from one run to the next."""
    return {
        "headline": headline(result),
        "data": data_section(result),
        "settings": settings_section(result.options),
        "scores": result.scores.as_dict(),
        "per_scene": {name: score.as_dict() for name, score in sorted(result.per_scene.items())},
        "assessment": result.assessment,
        "model": {"sha256": result.trained.digest, "nodes": result.trained.nodes},
        "predictions": {"sha256": result.prediction_digest},
        **run_details(result, PACKAGES),
    }


def run_details(result: Any, packages: Sequence[str]) -> dict[str, Any]:
    """Return versions of Python and packages, and what differs between runs, for the reports of both jobs."""
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "run": {
            "scheduler": result.options.scheduler or "none",
            "workers": result.client.workers,
            "threads": result.client.threads,
            "seconds": result.seconds,
        },
    }


def data_section(result: RetrievalResult) -> dict[str, Any]:
    """Return the counts, and the kind of the data."""
    sampled, scores = result.sampled, result.scores
    return {
        "kind": result.data_kind,
        "judged_on": "scenes held out" if result.options.held_out else "tiles held out inside the training scenes",
        "training_scenes": len(sampled.infos),
        "training_scenes_pixels": sum(info.pixels for info in sampled.infos),
        "training_rows": sampled.rows,
        "training_rows_cloudy": sampled.cloudy_rows,
        "training_rows_left_out": sampled.rows_left_out,
        "training_rows_limit": result.options.row_limit,
        "judged_scenes": len(result.per_scene),
        "judged_pixels": scores.pixels,
        "features": result.options.split.footprint.count,
        "buffer_pixels": 0 if result.options.held_out else result.options.split.buffer,
    }


def settings_section(options: Options) -> dict[str, Any]:
    """Return the options that determine the result."""
    # Where the job ran (scheduler, output folder) does not affect the result and is left out.
    names = "data held_out match model fast trees depth rows blocks seed neighbourhood fold buffer"
    return {name: getattr(options, name) for name in names.split()}


def headline(result: RetrievalResult) -> str:
    """Return the three scores and the test set in one line."""
    scores = result.scores
    test_set = "held-out scenes" if result.options.held_out else "held-out tiles"
    accuracy = scores.as_dict()["cloud_mask"]["accuracy"]
    return (
        f"cloud mask accuracy {format_number(accuracy)}   R2 log(1+COT) {format_number(scores.log_cot.r2, 2)}   "
        f"R2 CER {format_number(scores.cer.r2, 2)}   {test_set}, {scores.pixels:,} pixels, {result.data_kind} data"
    )


def summary_lines(result: RetrievalResult) -> list[str]:
    """Return the lines printed at the end of a run."""
    seconds = "  ".join(f"{name} {value:.1f}" for name, value in result.seconds.items())
    return [
        "",
        *(f"  {name:<22} {value:<15} {note}" for name, value, note in score_rows(result.scores.as_dict())),
        f"  seconds                {seconds}",
        f"  model {result.trained.digest[:12]}   predictions {result.prediction_digest[:12]}   {result.data_kind} data",
    ]


def score_rows(scores: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and note of each line of scores."""
    mask, cot, cer = (scores[name] for name in ("cloud_mask", "cloud_optical_thickness", "cloud_effective_radius"))
    baseline = f"majority-class baseline: {format_number(mask['baseline_larger_class'])}"
    ratios = f"{format_number(mask['precision'])} / {format_number(mask['recall'])}"
    over = f"over {scores['cloudy_pixels']:,} cloudy pixels"
    masked = f"{over}; a missed cloud as COT 0: {format_number(cot['r2_log1p_as_masked'])}"
    errors = f"{format_number(cot['rmse_log1p'])} / {format_number(cot['rmse'], 1)}"
    return [
        ("cloud mask accuracy", format_number(mask["accuracy"]), baseline),
        ("precision / recall", ratios, f"over {scores['judged_pixels']:,} pixels"),
        ("R2 log(1+COT)", format_number(cot["r2_log1p"]), masked),
        ("RMSE log(1+COT) / COT", errors, f"bias of COT {format_number(cot['bias'], 1)}"),
        ("R2 CER", format_number(cer["r2"]), over),
        ("RMSE CER", f"{format_number(cer['rmse'], 2)} um", f"bias {format_number(cer['bias'], 2)} um"),
    ]


def format_number(value: float | None, digits: int = 3) -> str:
    """Format a number; ``n/a`` for None."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def write_metrics(result: RetrievalResult) -> None:
    """Write metrics.json to the output folder."""
    save_metrics(result.options.out, metrics(result))


def save_metrics(folder: Path, content: dict[str, Any]) -> None:
    """Write metrics.json of either job to a folder."""
    (folder / "metrics.json").write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")
