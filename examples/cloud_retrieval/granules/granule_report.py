"""metrics.json and the table at the end of a run."""

from __future__ import annotations

from typing import Any

from retrieval.scene_report import format_number, run_details, save_metrics

from granules import evaluation, features
from granules.caliop import CLASSES
from granules.pipeline import GranulesResult, Options

PACKAGES = ("numpy", "scipy", "scikit-learn", "h5py", "netCDF4", "pyhdf", "dask", "distributed", "matplotlib")
COLUMN_KINDS = (*CLASSES, "cloudy, phase unknown", "not judged")
# Where scores on synthetic granules must lie. Above it something tells the answer that no instrument could; below it
# the physics carries no information. Tests hold it.
SYNTHETIC_BAND = {"phase": (0.78, 0.94), "cloud_mask": (0.86, 0.975)}


def metrics(outcome: GranulesResult) -> dict[str, Any]:
    """Everything of metrics.json. ``run`` holds what differs from one run to the next; the rest does not."""
    return {
        "headline": headline(outcome),
        "data": data_section(outcome),
        "settings": settings_section(outcome.options),
        "scores": evaluation.compute_scores(outcome.counts, outcome.options.seed),
        "importance": importance_section(outcome),
        "per_granule": per_granule_section(outcome),
        "model": {"sha256": outcome.model_digest, "folds": outcome.model_digests, "nodes": outcome.nodes},
        "predictions": {
            "sha256": outcome.prediction_digest,
            "granules": dict(sorted(outcome.prediction_digests.items())),
        },
        **run_details(outcome, PACKAGES),
    }


def data_section(outcome: GranulesResult) -> dict[str, Any]:
    """Counts, and whether the data were made up."""
    kinds = [sum(info.class_counts[number] for info in outcome.infos) for number in range(len(COLUMN_KINDS))]
    found: dict[str, Any] = {
        "kind": outcome.data_kind,
        "judged_on": "granules held out, each by a model that has seen none of its pixels",
        "granules": len(outcome.infos),
        "pixels": sum(info.lines * info.pixels for info in outcome.infos),
        "profiles": sum(info.profiles for info in outcome.infos),
        "matched": sum(info.matched for info in outcome.infos),
        "columns": dict(zip(COLUMN_KINDS, kinds, strict=True)),
        "features": len(features.FEATURE_NAMES),
    }
    if outcome.data_kind != "real":
        found["synthetic_band"] = SYNTHETIC_BAND
    return found


def settings_section(options: Options) -> dict[str, Any]:
    """The options that decide the result."""
    names = ("data", "km", "minutes", "indexed", "folds", "trees", "depth", "maps", "seed")
    return {name: getattr(options, name) for name in names}


def importance_section(outcome: GranulesResult) -> dict[str, float | None]:
    """Loss of phase accuracy when a group of features is shuffled, largest first."""
    judged = sum(int(tally.confusion.sum()) for tally in outcome.counts)
    worth = {
        name: evaluation.ratio_or_none(float(value), judged)
        for name, value in zip(features.GROUPS, outcome.importance, strict=True)
    }
    return dict(sorted(worth.items(), key=lambda pair: -(pair[1] or 0.0)))


def per_granule_section(outcome: GranulesResult) -> dict[str, dict[str, Any]]:
    """What is known of each granule."""
    return {
        info.key: {
            "fold": fold,
            "synthetic": info.synthetic,
            "shape": [info.lines, info.pixels],
            "matched": info.matched,
            "mean_km": round(info.mean_km, 3),
            "mean_minutes": round(info.mean_minutes, 2),
            "columns": dict(zip(COLUMN_KINDS, info.class_counts, strict=True)),
            "phase_accuracy": evaluation.accuracy(tally.confusion),
            "cloud_mask_accuracy": evaluation.accuracy(tally.mask),
        }
        for info, fold, tally in zip(outcome.infos, outcome.folds, outcome.counts, strict=True)
    }


def headline(outcome: GranulesResult) -> str:
    """One line for a log."""
    found = evaluation.compute_scores(outcome.counts, outcome.options.seed)
    return (
        f"phase accuracy {format_number(found['phase']['accuracy'])}{format_interval(found['phase']['accuracy_95'])}   "
        f"cloud mask {format_number(found['cloud_mask']['accuracy'])}   "
        f"top RMSE {format_number(found['cloud_top_height']['rmse'], 2)} km   "
        f"{len(outcome.infos)} granules held out in turn, {found['cloud_mask']['columns']:,} columns, "
        f"{outcome.data_kind} data"
    )


def format_interval(interval: tuple[float, float] | None) -> str:
    """`` (0.91 to 0.95)``."""
    return f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""


def summary_lines(outcome: GranulesResult) -> list[str]:
    """The lines a run ends with."""
    found = evaluation.compute_scores(outcome.counts, outcome.options.seed)
    phase, mask, top = found["phase"], found["cloud_mask"], found["cloud_top_height"]
    lines = [
        (
            "phase accuracy",
            format_number(phase["accuracy"]) + format_interval(phase["accuracy_95"]),
            f"always the largest class: {format_number(phase['baseline_largest_class'])}",
        ),
        (
            "cloud mask accuracy",
            format_number(mask["accuracy"]) + format_interval(mask["accuracy_95"]),
            f"always the larger class: {format_number(mask['baseline_larger_class'])}",
        ),
        (
            "calibration",
            f"Brier {format_number(found['calibration']['brier'])}",
            f"expected error {format_number(found['calibration']['expected_calibration_error'])}",
        ),
        (
            "cloud top",
            f"RMSE {format_number(top['rmse'], 2)} km",
            f"R2 {format_number(top['r2'])}, bias {format_number(top['bias'], 2)} km",
        ),
    ]
    lines += [
        (name, f"P {format_number(row['precision'])}  R {format_number(row['recall'])}", f"{row['columns']:,} columns")
        for name, row in phase["classes"].items()
    ]
    seconds = "  ".join(f"{name} {value:.1f}" for name, value in outcome.seconds.items())
    return [
        "",
        *(f"  {name:<20} {value:<24} {note}" for name, value, note in lines),
        f"  seconds              {seconds}",
        f"  model {outcome.model_digest[:12]}   "
        f"predictions {outcome.prediction_digest[:12]}   {outcome.data_kind} data",
    ]


def write_metrics(outcome: GranulesResult) -> None:
    """Write metrics.json to the output folder."""
    save_metrics(outcome.options.out, metrics(outcome))
