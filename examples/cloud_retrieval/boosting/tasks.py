"""Functions that run on the workers. Each depends on its arguments alone, so Dask may repeat it on another worker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval import tasks, train_test_split
from retrieval.predictions_file import LWP_G_M2, PIXEL_ALONE
from retrieval.scenes import Scene
from retrieval.tasks import SceneRef, SceneSplit, TrainingSample

from boosting import calibration, context, members
from boosting.calibration import SPREAD_TARGETS, Calibration, Spread
from boosting.members import BoostingSettings, BoostingTable, Member, MemberSpec, Stage, Target, Values


@dataclass(frozen=True)
class BoostedModel:
    """Stages, calibration, the baseline that sees the pixel alone, and the range of the training pixels' own values."""

    stages: tuple[Stage, ...]
    alone: Stage
    calibration: Calibration
    low: NDArray[np.float32]
    high: NDArray[np.float32]


def limit_threads() -> Any:
    """Return a context in which scikit-learn uses one thread.

    Two OpenMP threads that wait for each other on a busy host cost many times the CPU of one; the cores are used by
    other tasks.
    """
    from threadpoolctl import threadpool_limits

    drop_thread_warnings()
    return threadpool_limits(1)


@cache
def drop_thread_warnings() -> None:
    """Drop a warning that scikit-learn issues by mistake when tasks are threads of one process.

    Boosting runs its binning through joblib, which replaces the warning filters of the process for a moment. Another
    thread that finds them empty then warns that the configuration was not propagated. Filters cannot hold the warning
    back, as they are what is replaced; the log of warnings can.
    """
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addFilter(
        lambda record: "sklearn.utils.parallel.delayed" not in record.getMessage()
    )


def sample_groups(sample: TrainingSample, split: SceneSplit, index: int) -> NDArray[np.int8]:
    """Return the tile group of each sampled pixel; inside scenes, group 0 is the one that is tested."""
    shape = (sample.info.rows, sample.info.columns)
    return train_test_split.pixel_groups(shape, sample.indices, max(split.fold, 0) + index)


def build_table(samples: Sequence[TrainingSample], split: SceneSplit) -> BoostingTable:
    """Build one training table from the rows of all scenes, in the order of the scenes."""
    columns = [np.concatenate([getattr(part, name) for part in samples]) for name in ("features", "cot", "cer")]
    groups = np.concatenate([sample_groups(sample, split, index) for index, sample in enumerate(samples)])
    return BoostingTable(columns[0], columns[1], columns[2], groups)


def fit_member(table: BoostingTable, spec: MemberSpec, settings: BoostingSettings) -> Member:
    """Train one member; see :func:`members.fit_member`."""
    with limit_threads():
        return members.fit_member(table, spec, settings)


def merge_stage(trained: Sequence[Member]) -> Stage:
    """Merge members, in the order of their specifications."""
    return Stage(tuple(trained))


def sample_context(sample: TrainingSample, ref: SceneRef, split: SceneSplit, stage: Stage) -> NDArray[np.float32]:
    """Return the context of a scene's sampled pixels, by members that have not seen their tiles."""
    groups = sample_groups(sample, split, ref.index)
    with limit_threads(), tasks.open_scene(ref) as scene:
        return context.held_out_context(scene, split, stage, sample.indices, groups)


def extend_table(table: BoostingTable, contexts: Sequence[NDArray[np.float32]]) -> BoostingTable:
    """Return the table of the second stage: features and context."""
    return replace(table, features=np.hstack([table.features, np.concatenate(contexts)]))


def predict_held_out(table: BoostingTable, stage: Stage, group: int) -> Values:
    """Return predictions for a tile group of the training rows; see :func:`members.held_out_predictions`."""
    with limit_threads():
        return members.held_out_predictions(stage, table, group)


def merge_held_out(table: BoostingTable, groups: Sequence[int], parts: Sequence[Values]) -> Values:
    """Return predictions for all training rows."""
    return members.merge_held_out(table, dict(zip(groups, parts, strict=True)))


def fit_spread(table: BoostingTable, predictions: Values, target: Target) -> Spread:
    """Fit the uncertainties of a target; see :func:`calibration.fit_spread`."""
    with limit_threads():
        return calibration.fit_spread(table, predictions, target)


def fit_ratio(table: BoostingTable, predictions: Values) -> Any:
    """Fit the ratio of mean to median; see :func:`calibration.fit_ratio`."""
    with limit_threads():
        return calibration.fit_ratio(predictions[table.cloudy], table.cot[table.cloudy])


def merge_calibration(ratio: Any, spreads: Sequence[Spread]) -> Calibration:
    """Return the calibration of the last stage."""
    return Calibration(ratio, dict(zip(SPREAD_TARGETS, spreads, strict=True)))


def alone_table(table: BoostingTable, split: SceneSplit) -> BoostingTable:
    """Return the table of the baseline that sees the pixel alone."""
    return replace(table, features=own_values(table.features, split))


def build_model(stages: Sequence[Stage], alone: Stage, calibrated: Calibration, table: BoostingTable) -> BoostedModel:
    """Build the model; ``table`` is that of the pixel alone."""
    own = table.features
    return BoostedModel(tuple(stages), alone, calibrated, own.min(axis=0), own.max(axis=0))


def own_values(features: NDArray[np.float32], split: SceneSplit) -> NDArray[np.float32]:
    """Return the columns that must lie in the training range: the pixel's own two values and ratio, and geometry."""
    square = split.footprint.neighbourhood**2
    centers = [band * square + square // 2 for band in range(3)]
    return np.hstack([features[:, centers], features[:, -3:]])


def describe_model(model: BoostedModel) -> tuple[str, int]:
    """Return hash and number of nodes of a model."""
    estimators = [member.estimator for stage in (*model.stages, model.alone) for member in stage.members]
    estimators += model.calibration.estimators
    factors = [model.calibration.spreads[target].factors for target in SPREAD_TARGETS]
    start = np.asarray(factors, dtype="<f8").tobytes()
    return members.estimators_digest(estimators, start), members.count_nodes(estimators)


def predict_planes(
    scene: Scene, split: SceneSplit, model: BoostedModel, row_range: tuple[int, int], tested: NDArray[np.bool_] | None
) -> dict[str, NDArray[Any]]:
    """Return predictions for some rows, one value per pixel and name; see :data:`tasks.Predictor`."""
    first, last = row_range
    with limit_threads():
        if len(model.stages) > 1:
            table, around = context.whole_context(scene, split, model.stages[0], first, last)
            values = model.stages[1].predict(np.hstack([table, around]))
        else:
            table = tasks.block_features(scene, split, first, last)
            values = model.stages[0].predict(table)
        own = own_values(table, split)
        return name_planes(model, values, is_outside(model, own)) | alone_planes(model.alone, own, tested)


def alone_planes(
    stage: Stage, own: NDArray[np.float32], tested: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.float32]]:
    """Return the predictions of the baseline for the tested pixels, and NaN for others, which would only cost time."""
    if tested is None:
        return {}
    values = np.full((len(own), len(members.TARGETS)), np.nan)
    values[tested] = stage.predict(own[tested])
    values[:, 1] = np.expm1(values[:, 1])
    return dict(zip(PIXEL_ALONE, values.astype(np.float32).T, strict=True))


def is_outside(model: BoostedModel, own: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 1 where a value lies outside the range of the training pixels."""
    outside = ((own < model.low) | (own > model.high)).any(axis=1)
    return np.asarray(outside, dtype=np.uint8)


def name_planes(model: BoostedModel, values: Values, outside: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return the planes of predictions.h5 for rows of retrieved values."""
    mean_cot, radius = model.calibration.mean_cot(values), values[:, 2]
    cot_68, cot_95 = model.calibration.half_widths("cot", values)
    cer_68, cer_95 = model.calibration.half_widths("cer", values)
    planes = {
        "cloud_mask_probability": values[:, 0],
        "cloud_optical_thickness": np.expm1(values[:, 1]),
        "cloud_effective_radius": radius,
        "cloud_optical_thickness_mean": mean_cot,
        "liquid_water_path": LWP_G_M2 * mean_cot * radius,
        "log_optical_thickness_half_width_68": cot_68,
        "log_optical_thickness_half_width_95": cot_95,
        "effective_radius_half_width_68": cer_68,
        "effective_radius_half_width_95": cer_95,
    }
    return {name: plane.astype(np.float32) for name, plane in planes.items()} | {"outside_training_range": outside}
