"""metrics.json and the summary at the end of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from columns import layers_5km, strata
from retrieval.scene_report import format_number, run_details, save_metrics

from granules import evaluation, features
from granules.caliop import CLASSES
from granules.pipeline import GranulesResult, Options

PACKAGES = ("numpy", "scipy", "scikit-learn", "h5py", "netCDF4", "pyhdf", "dask", "distributed", "matplotlib")
COLUMN_KINDS = (*CLASSES, "cloudy, phase unknown", "not judged")
# Required range of the scores on synthetic granules, enforced by tests. Above it, truth leaks into the simulated
# measurements; below it, the simulated physics carries no information.
SYNTHETIC_BAND = {"phase": (0.78, 0.94), "cloud_mask": (0.86, 0.975)}


def metrics(result: GranulesResult) -> dict[str, Any]:
    """Return the content of metrics.json; ``run`` holds everything that differs from one run to the next."""
    return {
        "headline": headline(result),
        "data": data_section(result),
        "settings": settings_section(result.options),
        "truth": truth_section(result),
        "quality": quality_section(result),
        "scores": evaluation.compute_scores(result.counts, result.options.seed),
        "without_thin_cloud": scores_without_thin(result),
        "strata": strata.strata_scores(result.strata, result.options.seed),
        "importance": importance_section(result),
        "per_granule": per_granule_section(result),
        "model": {"sha256": result.model_digest, "folds": result.model_digests, "nodes": result.nodes},
        "predictions": {
            "sha256": result.prediction_digest,
            "granules": dict(sorted(result.prediction_digests.items())),
        },
        **run_details(result, PACKAGES),
    }


def data_section(result: GranulesResult) -> dict[str, Any]:
    """Return the counts, and the kind of the data."""
    class_counts = [sum(info.class_counts[number] for info in result.infos) for number in range(len(COLUMN_KINDS))]
    section: dict[str, Any] = {
        "kind": result.data_kind,
        "judged_on": "granules held out, each by a model trained without any of its pixels",
        "granules": len(result.infos),
        "pixels": sum(info.lines * info.pixels for info in result.infos),
        "profiles": sum(info.profiles for info in result.infos),
        "matched": sum(info.matched for info in result.infos),
        "columns": dict(zip(COLUMN_KINDS, class_counts, strict=True)),
        "features": len(features.FEATURE_NAMES),
        "files_not_read": result.unread,
    }
    if result.data_kind != "real":
        section["synthetic_band"] = SYNTHETIC_BAND
    return section


def truth_section(result: GranulesResult) -> dict[str, Any]:
    """Return the lidar products that the truth is from, and the columns by origin of their class."""
    totals = np.sum([info.origin_counts for info in result.infos], axis=0)
    tracks, with_layers = (sum(getattr(info, name) for info in result.infos) for name in ("tracks", "layer_tracks"))
    note = "thin cirrus found in averages over 5 km and more is cloud"
    if with_layers < tracks:
        note = "thin cirrus found in averages over 5 km and more counts as clear on tracks without a 05kmMLay file"
    return {
        "tracks": tracks,
        "tracks_with_5km_product": with_layers,
        "note": note,
        "columns_by_origin": dict(zip(layers_5km.ORIGINS, map(int, totals), strict=True)),
        "columns_with_known_snow": sum(info.snow_known for info in result.infos),
        "mixed": "multilayer: layers of water and of ice in one column",
    }


def quality_section(result: GranulesResult) -> dict[str, int]:
    """Return what quality flags and fill values exclude."""
    names = ("flagged_values", "misplaced_pixels", "lines_without_time")
    return {name: sum(getattr(info, name) for info in result.infos) for name in names}


def scores_without_thin(result: GranulesResult) -> dict[str, Any] | None:
    """Return the scores without clouds thinner than 0.3 in total; None if no optical depth is known."""
    if not any(info.layer_tracks for info in result.infos):
        return None
    counts = [granule[strata.WITHOUT_THIN] for granule in result.strata]
    return evaluation.compute_scores(counts, result.options.seed)


def settings_section(options: Options) -> dict[str, Any]:
    """Return the options that determine the result."""
    # Where the job ran (scheduler, output folder) does not affect the result and is left out.
    names = ("data", "km", "minutes", "indexed", "folds", "trees", "depth", "maps", "seed")
    return {name: getattr(options, name) for name in names}


def importance_section(result: GranulesResult) -> dict[str, float | None]:
    """Return the loss of phase accuracy when a group of features is permuted, largest first."""
    evaluated = sum(int(counts.confusion.sum()) for counts in result.counts)
    losses = {
        name: evaluation.ratio_or_none(float(value), evaluated)
        for name, value in zip(features.GROUPS, result.importance, strict=True)
    }
    return dict(sorted(losses.items(), key=lambda pair: -(pair[1] or 0.0)))


def per_granule_section(result: GranulesResult) -> dict[str, dict[str, Any]]:
    """Return the properties and scores of each granule."""
    return {
        info.key: {
            "fold": fold,
            "synthetic": info.synthetic,
            "shape": [info.lines, info.pixels],
            "matched": info.matched,
            "mean_km": round(info.mean_km, 3),
            "mean_minutes": round(info.mean_minutes, 2),
            "columns": dict(zip(COLUMN_KINDS, info.class_counts, strict=True)),
            "phase_accuracy": evaluation.accuracy(counts.confusion),
            "cloud_mask_accuracy": evaluation.accuracy(counts.mask),
        }
        for info, fold, counts in zip(result.infos, result.folds, result.counts, strict=True)
    }


def headline(result: GranulesResult) -> str:
    """Return the scores in one line."""
    scores = evaluation.compute_scores(result.counts, result.options.seed)
    phase, mask, top = (scores[name] for name in ("phase", "cloud_mask", "cloud_top_height"))
    return (
        f"phase accuracy {format_number(phase['accuracy'])}{format_interval(phase['accuracy_95'])}   "
        f"cloud mask {format_number(mask['accuracy'])}   "
        f"top RMSE {format_number(top['rmse'], 2)} km   "
        f"{len(result.infos)} granules held out in turn, {mask['columns']:,} columns, "
        f"{result.data_kind} data"
    )


def format_interval(interval: tuple[float, float] | None) -> str:
    """Return `` (0.91 to 0.95)``; empty without an interval."""
    return f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""


def summary_lines(result: GranulesResult) -> list[str]:
    """Return the lines printed at the end of a run."""
    seconds = "  ".join(f"{name} {value:.1f}" for name, value in result.seconds.items())
    scores = evaluation.compute_scores(result.counts, result.options.seed)
    return [
        "",
        *(f"  {name:<20} {value:<24} {note}" for name, value, note in score_rows(scores)),
        *strata_lines(result),
        f"  seconds              {seconds}",
        f"  model {result.model_digest[:12]}   predictions {result.prediction_digest[:12]}   {result.data_kind} data",
    ]


def strata_lines(result: GranulesResult) -> list[str]:
    """Return a table of the strata that have columns."""
    truth, thick = truth_section(result), scores_without_thin(result)
    lines = [f"  truth                {truth['tracks_with_5km_product']} of {truth['tracks']} tracks with 5 km layers"]
    if thick:
        phase, mask = (accuracy_text(thick[name]) for name in ("phase", "cloud_mask"))
        lines.append(f"  without thin cloud   phase {phase}   cloud mask {mask}   (optical depth from 0.3)")
    lines.append(f"  {'stratum':<32} {'columns':>8}  phase   mask  found  false alarms")
    sections = strata.strata_scores(result.strata, result.options.seed)
    for division, section in sections.items():
        for name, row in section.items():
            if row["columns"]:
                keys = ("phase_accuracy", "cloud_mask_accuracy", "cloud_found", "false_alarms")
                values = "  ".join(f"{format_number(row[key]):>5}" for key in keys)
                lines.append(f"  {division.replace('_', ' ') + ': ' + name:<32} {row['columns']:>8,}  {values}")
    return lines


def score_rows(scores: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and note of each line of scores."""
    phase, mask, top = scores["phase"], scores["cloud_mask"], scores["cloud_top_height"]
    brier, error = (format_number(scores["calibration"][name]) for name in ("brier", "expected_calibration_error"))
    errors = f"R2 {format_number(top['r2'])}, bias {format_number(top['bias'], 2)} km"
    return [
        ("phase accuracy", *accuracy_texts(phase, "baseline_largest_class")),
        ("cloud mask accuracy", *accuracy_texts(mask, "baseline_larger_class")),
        ("calibration", f"Brier {brier}", f"expected error {error}"),
        ("cloud top", f"RMSE {format_number(top['rmse'], 2)} km", errors),
        *((name, *class_texts(row)) for name, row in phase["classes"].items()),
    ]


def accuracy_texts(scores: dict[str, Any], baseline: str) -> tuple[str, str]:
    """Return an accuracy with its interval, and the accuracy of the majority class."""
    return accuracy_text(scores), f"majority-class baseline: {format_number(scores[baseline])}"


def accuracy_text(scores: dict[str, Any]) -> str:
    """Return an accuracy with its interval."""
    return format_number(scores["accuracy"]) + format_interval(scores["accuracy_95"])


def class_texts(row: dict[str, Any]) -> tuple[str, str]:
    """Return precision and recall of a class, and its number of columns."""
    return f"P {format_number(row['precision'])}  R {format_number(row['recall'])}", f"{row['columns']:,} columns"


def write_metrics(result: GranulesResult) -> None:
    """Write metrics.json to the output folder."""
    save_metrics(result.options.out, metrics(result))
