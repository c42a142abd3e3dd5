"""metrics.json and the table at the end of a run."""

from __future__ import annotations

from typing import Any

from retrieval.scene_report import circumstances, save, shown

from granules import evaluation, features
from granules.caliop import CLASSES
from granules.pipeline import Options, Outcome

PACKAGES = ("numpy", "scipy", "scikit-learn", "h5py", "netCDF4", "pyhdf", "dask", "distributed", "matplotlib")
KINDS = (*CLASSES, "cloudy, phase unknown", "not judged")
# Where scores on synthetic granules must lie. Above it something tells the answer that no instrument could; below it
# the physics carries no information. Tests hold it.
SYNTHETIC_BAND = {"phase": (0.78, 0.94), "cloud_mask": (0.86, 0.975)}


def metrics(outcome: Outcome) -> dict[str, Any]:
    """Everything of metrics.json. ``run`` holds what differs from one run to the next; the rest does not."""
    return {
        "headline": headline(outcome),
        "data": data(outcome),
        "settings": settings(outcome.options),
        "scores": evaluation.scores(outcome.tallies, outcome.options.seed),
        "importance": importance(outcome),
        "per_granule": per_granule(outcome),
        "model": {"sha256": outcome.model_digest, "folds": outcome.models, "nodes": outcome.nodes},
        "predictions": {"sha256": outcome.prediction_digest, "granules": dict(sorted(outcome.predictions.items()))},
        **circumstances(outcome, PACKAGES),
    }


def data(outcome: Outcome) -> dict[str, Any]:
    """Counts, and whether the data were made up."""
    kinds = [sum(info.kinds[number] for info in outcome.infos) for number in range(len(KINDS))]
    found: dict[str, Any] = {
        "kind": outcome.data,
        "judged_on": "granules held out, each by a model that has seen none of its pixels",
        "granules": len(outcome.infos),
        "pixels": sum(info.lines * info.pixels for info in outcome.infos),
        "profiles": sum(info.profiles for info in outcome.infos),
        "matched": sum(info.matched for info in outcome.infos),
        "columns": dict(zip(KINDS, kinds, strict=True)),
        "features": len(features.NAMES),
    }
    if outcome.data != "real":
        found["synthetic_band"] = SYNTHETIC_BAND
    return found


def settings(options: Options) -> dict[str, Any]:
    """The options that decide the result."""
    names = ("data", "km", "minutes", "indexed", "folds", "trees", "depth", "maps", "seed")
    return {name: getattr(options, name) for name in names}


def importance(outcome: Outcome) -> dict[str, float | None]:
    """Loss of phase accuracy when a group of features is shuffled, largest first."""
    judged = sum(int(tally.confusion.sum()) for tally in outcome.tallies)
    worth = {
        name: evaluation.share(float(value), judged) for name, value in zip(features.GROUPS, outcome.worth, strict=True)
    }
    return dict(sorted(worth.items(), key=lambda pair: -(pair[1] or 0.0)))


def per_granule(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """What is known of each granule."""
    return {
        info.key: {
            "fold": fold,
            "synthetic": info.synthetic,
            "shape": [info.lines, info.pixels],
            "matched": info.matched,
            "mean_km": round(info.mean_km, 3),
            "mean_minutes": round(info.mean_minutes, 2),
            "columns": dict(zip(KINDS, info.kinds, strict=True)),
            "phase_accuracy": evaluation.accuracy(tally.confusion),
            "cloud_mask_accuracy": evaluation.accuracy(tally.mask),
        }
        for info, fold, tally in zip(outcome.infos, outcome.folds, outcome.tallies, strict=True)
    }


def headline(outcome: Outcome) -> str:
    """One line for a log."""
    found = evaluation.scores(outcome.tallies, outcome.options.seed)
    return (
        f"phase accuracy {shown(found['phase']['accuracy'])}{between(found['phase']['accuracy_95'])}   "
        f"cloud mask {shown(found['cloud_mask']['accuracy'])}   "
        f"top RMSE {shown(found['cloud_top_height']['rmse'], 2)} km   "
        f"{len(outcome.infos)} granules held out in turn, {found['cloud_mask']['columns']:,} columns, "
        f"{outcome.data} data"
    )


def between(interval: tuple[float, float] | None) -> str:
    """`` (0.91 to 0.95)``."""
    return f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""


def table(outcome: Outcome) -> list[str]:
    """The lines a run ends with."""
    found = evaluation.scores(outcome.tallies, outcome.options.seed)
    phase, mask, top = found["phase"], found["cloud_mask"], found["cloud_top_height"]
    lines = [
        (
            "phase accuracy",
            shown(phase["accuracy"]) + between(phase["accuracy_95"]),
            f"always the largest class: {shown(phase['baseline_largest_class'])}",
        ),
        (
            "cloud mask accuracy",
            shown(mask["accuracy"]) + between(mask["accuracy_95"]),
            f"always the larger class: {shown(mask['baseline_larger_class'])}",
        ),
        (
            "calibration",
            f"Brier {shown(found['calibration']['brier'])}",
            f"expected error {shown(found['calibration']['expected_calibration_error'])}",
        ),
        ("cloud top", f"RMSE {shown(top['rmse'], 2)} km", f"R2 {shown(top['r2'])}, bias {shown(top['bias'], 2)} km"),
    ]
    lines += [
        (name, f"P {shown(row['precision'])}  R {shown(row['recall'])}", f"{row['columns']:,} columns")
        for name, row in phase["classes"].items()
    ]
    seconds = "  ".join(f"{name} {value:.1f}" for name, value in outcome.seconds.items())
    return [
        "",
        *(f"  {name:<20} {value:<24} {note}" for name, value, note in lines),
        f"  seconds              {seconds}",
        f"  model {outcome.model_digest[:12]}   predictions {outcome.prediction_digest[:12]}   {outcome.data} data",
    ]


def write(outcome: Outcome) -> None:
    """Write metrics.json to the output folder."""
    save(outcome.options.out, metrics(outcome))
