"""The order of training: members of the first stage, its maps around the training pixels, the second stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrieval.dask_client import DaskClient
from retrieval.stages import Log, TrainedModel, log_progress
from retrieval.tasks import SceneRef, SceneSplit
from retrieval.train_test_split import TILES

from boosting import tasks
from boosting.calibration import SPREAD_TARGETS
from boosting.members import BoostingSettings


def train(
    client: DaskClient,
    settings: BoostingSettings,
    split: SceneSplit,
    refs: Sequence[SceneRef],
    samples: Sequence[Any],
    log: Log,
) -> TrainedModel:
    """Train all stages and the calibration; tables, maps and members stay on the workers.

    :param samples: futures of the scenes' training samples, in the order of ``refs``.
    """
    # Group 0 is tested if no scene is held out, so no training pixel is in it.
    groups = range(TILES) if split.fold < 0 else range(1, TILES)
    base = table = client.submit(tasks.build_table, samples, split)
    own = client.submit(tasks.alone_table, base, split)
    alone = [client.submit(tasks.fit_member, own, spec, settings) for spec in settings.alone_specs()]
    stages: list[Any] = []
    for number in range(settings.stages):
        if number:
            contexts = [
                client.submit(tasks.sample_context, sample, ref, split, stages[0])
                for sample, ref in zip(samples, refs, strict=True)
            ]
            table = client.submit(tasks.extend_table, base, contexts)
        specs = settings.specs(number, groups)
        trained = [client.submit(tasks.fit_member, table, spec, settings) for spec in specs]
        log_progress(trained, len(specs), f"stage {number + 1}/{settings.stages}  models", log)
        stages.append(client.submit(tasks.merge_stage, trained))
    calibrated = calibrate(client, table, stages[-1], groups)
    model = client.submit(tasks.build_model, stages, client.submit(tasks.merge_stage, alone), calibrated, own)
    digest, nodes = client.submit(tasks.describe_model, model).result()
    return TrainedModel(model, digest, nodes)


def calibrate(client: DaskClient, table: Any, stage: Any, groups: Sequence[int]) -> Any:
    """Fit mean and uncertainties of the last stage, in several tasks: one would leave the other workers idle."""
    parts = [client.submit(tasks.predict_held_out, table, stage, group) for group in groups]
    predictions = client.submit(tasks.merge_held_out, table, groups, parts)
    spreads = [client.submit(tasks.fit_spread, table, predictions, target) for target in SPREAD_TARGETS]
    ratio = client.submit(tasks.fit_ratio, table, predictions)
    return client.submit(tasks.merge_calibration, ratio, spreads)
