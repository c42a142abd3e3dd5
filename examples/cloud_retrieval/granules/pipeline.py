"""The stages of a run: find, connect, collocate, train, judge, map.

The client sends out names and receives counts, progress and finished files. It holds no array: matched rows and trees
travel between workers, and a product arrives as the bytes of its compressed file, one granule at a time.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from columns import strata
from columns.strata import Stratum
from distributed import as_completed
from retrieval.dask_client import DaskClient, connect
from retrieval.scenes import SceneError
from retrieval.stages import (
    Log,
    StageTimer,
    TrainedModel,
    data_kind,
    format_count,
    gather_results,
    group_seeds,
    log_progress,
    make_folders,
)

from granules import caliop, file_names, forest_model, tasks
from granules.evaluation import Counts, EvaluationCounts
from granules.file_names import FileSurvey, GranulePair
from granules.forest_model import ForestSettings
from granules.tasks import GranuleInfo, MatchLimits


@dataclass(frozen=True)
class Options:
    """Options of the command line; ``maps`` below zero: maps of all granules; depth 0: no limit."""

    data: str
    out: Path
    scheduler: str = ""
    km: float = 5.0
    minutes: float = 15.0
    indexed: bool = False
    folds: int = 4
    trees: int = 40
    depth: int = 16
    maps: int = -1
    seed: int = 1

    @property
    def forest_settings(self) -> ForestSettings:
        """Settings of the forests."""
        return ForestSettings(self.trees, self.depth, self.seed)

    @property
    def limits(self) -> MatchLimits:
        """Limits of a match."""
        return MatchLimits(self.km, self.minutes, self.indexed)


@dataclass(frozen=True)
class RunContext:
    """Inputs shared by the stages."""

    options: Options
    client: DaskClient
    survey: FileSurvey
    timer: StageTimer
    log: Log

    @property
    def pairs(self) -> tuple[GranulePair, ...]:
        """The granules with their tracks."""
        return self.survey.pairs

    def fold_of(self, index: int) -> int:
        """Return the fold that holds out a granule; granules adjacent in time share clouds and therefore a fold."""
        return index * self.options.folds // len(self.pairs)


@dataclass(frozen=True)
class GranulesResult:
    """Results of a run; apart from seconds and client they are the same on one machine and on many."""

    options: Options
    unread: dict[str, str]
    infos: list[GranuleInfo]
    folds: list[int]
    model_digests: list[str]
    nodes: int
    counts: list[EvaluationCounts]
    importance: Counts
    strata: list[dict[Stratum, EvaluationCounts]]
    prediction_digests: dict[str, str]
    seconds: dict[str, float]
    client: DaskClient

    @property
    def data_kind(self) -> str:
        """``synthetic``, ``real`` or ``mixed``."""
        return data_kind(info.synthetic for info in self.infos)

    @property
    def model_digest(self) -> str:
        """SHA-256 of the models of all folds."""
        return hashlib.sha256("".join(self.model_digests).encode()).hexdigest()

    @property
    def prediction_digest(self) -> str:
        """SHA-256 of the predictions of all mapped granules, in the order of their keys."""
        parts = [f"{key}{digest}" for key, digest in sorted(self.prediction_digests.items())]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def run(options: Options, log: Log) -> GranulesResult:
    """Collocate, train, evaluate and map; writes index files, products and pictures to the output folder.

    :param log: called with progress, one line at a time.
    :raises SceneError: on unusable input.
    :raises ClusterError: if the cluster cannot be reached.
    """
    timer = StageTimer()
    with ExitStack() as stack:
        with timer.stage("find"):
            # Before connecting: missing files are reported at once, also when no cluster is available.
            survey = file_names.survey_files(options.data, minutes=options.minutes)
            check_inputs(options, survey.pairs)
        with timer.stage("connect"):
            packages = (Path(__file__).parent, Path(strata.__file__).parent)
            client = stack.enter_context(connect(options.scheduler, *packages))
        counts = [
            format_count(len(survey.pairs), "granule"),
            format_count(client.workers, "worker"),
            format_count(client.threads, "thread"),
        ]
        log(", ".join(counts))
        for name, reason in survey.unread.items():
            log(f"not read: {name} ({reason})")
        return run_stages(RunContext(options, client, survey, timer, log))


def check_inputs(options: Options, pairs: Sequence[GranulePair]) -> None:
    """Create the output folders; raise SceneError if that fails or the number of folds does not fit."""
    if not 2 <= options.folds <= len(pairs):
        raise SceneError(
            f"--folds {options.folds}: {format_count(len(pairs), 'granule')} here; each fold holds one or more out"
        )
    make_folders(options.out, options.out / "collocation", options.out / "maps")


def run_stages(context: RunContext) -> GranulesResult:
    """Run the stages that need workers, one after the other."""
    with context.timer.stage("collocate"):
        matched, infos = collocate_granules(context)
    with context.timer.stage("train"):
        models = train_folds(context, matched)
        save_model(context, models[0])
    with context.timer.stage("judge"):
        counts, importance, strata_counts = evaluate_granules(context, matched, models)
    with context.timer.stage("map"):
        predictions = map_granules(context, matched, models)
    return GranulesResult(
        options=context.options,
        unread=context.survey.unread,
        infos=infos,
        folds=[context.fold_of(pair.index) for pair in context.pairs],
        model_digests=[model.digest for model in models],
        nodes=sum(model.nodes for model in models),
        counts=counts,
        importance=importance,
        strata=strata_counts,
        prediction_digests=predictions,
        seconds=context.timer.seconds,
        client=context.client,
    )


def collocate_granules(context: RunContext) -> tuple[list[Any], list[GranuleInfo]]:
    """Match all granules with their tracks; index files are written in order of arrival."""
    client, options = context.client, context.options
    matched = [client.submit(tasks.match_granule, pair, options.limits) for pair in context.pairs]
    infos_pending = [client.submit(tasks.granule_info, future) for future in matched]
    index_files = [client.submit(tasks.index_files_of, future) for future in matched]
    for count, future in enumerate(as_completed(infos_pending), 1):
        if future.status == "finished":
            info = future.result()
            statistics = f"{info.matched:,} matched, {info.mean_km:.2f} km, {info.mean_minutes:+.1f} min"
            context.log(f"granule {count}/{len(context.pairs)}  {info.key}  {info.lines} x {info.pixels}  {statistics}")
    infos = gather_results(infos_pending)
    for future in index_files:
        for name, content in future.result().items():
            (options.out / "collocation" / name).write_bytes(content)
        future.release()
    check_classes(context, infos)
    return matched, infos


def check_classes(context: RunContext, infos: Sequence[GranuleInfo]) -> None:
    """Raise SceneError if the training granules of a fold lack clear or cloudy columns."""
    class_counts = np.array([info.class_counts for info in infos])
    folds = np.array([context.fold_of(pair.index) for pair in context.pairs])
    for fold in range(context.options.folds):
        training_counts = class_counts[folds != fold].sum(axis=0)
        if not training_counts[caliop.CLEAR] or not training_counts[caliop.WATER : caliop.CLOUDY].sum():
            missing = "clear" if not training_counts[caliop.CLEAR] else "cloudy"
            raise SceneError(f"{context.options.data}: no {missing} column to train on outside fold {fold}")


def train_folds(context: RunContext, matched: Sequence[Any]) -> list[TrainedModel]:
    """Train a model for each fold, from the granules outside it."""
    client, settings, options = context.client, context.options.forest_settings, context.options
    groups_by_fold = []
    for fold in range(options.folds):
        outside = [
            future for pair, future in zip(context.pairs, matched, strict=True) if context.fold_of(pair.index) != fold
        ]
        table = client.submit(tasks.training_rows, outside)
        groups_by_fold.append(
            {
                target: [
                    client.submit(tasks.fit_trees, table, target, settings, seeds)
                    for seeds in group_seeds(settings.seeds(target, fold))
                ]
                for target in forest_model.TARGETS
            }
        )
    pending = [future for groups in groups_by_fold for target in forest_model.TARGETS for future in groups[target]]
    trees = len(forest_model.TARGETS) * settings.trees * options.folds
    log_progress(pending, trees, "trees", context.log)
    models = [client.submit(tasks.merge_model, groups) for groups in groups_by_fold]
    descriptions = [client.submit(tasks.describe_model, model).result() for model in models]
    return [TrainedModel(model, *description) for model, description in zip(models, descriptions, strict=True)]


def save_model(context: RunContext, model: TrainedModel) -> None:
    """Write the model of the first fold to the output folder; an interrupted run leaves no incomplete file."""
    # The client need not import what it writes.
    content = context.client.submit(pickle.dumps, model.future).result()
    part = context.options.out / f"{forest_model.FILE}.part"
    part.write_bytes(content)
    part.replace(part.with_suffix(""))


def evaluate_granules(
    context: RunContext, matched: Sequence[Any], models: Sequence[TrainedModel]
) -> tuple[list[EvaluationCounts], Counts, list[dict[Stratum, EvaluationCounts]]]:
    """Evaluate each granule with the model trained without it."""
    futures = [
        context.client.submit(
            tasks.evaluate_granule, future, models[context.fold_of(pair.index)].future, context.options.seed
        )
        for pair, future in zip(context.pairs, matched, strict=True)
    ]
    results = gather_results(futures)
    counts, importance, strata_counts = zip(*results, strict=True)
    return list(counts), np.sum(importance, axis=0), list(strata_counts)


def map_granules(context: RunContext, matched: Sequence[Any], models: Sequence[TrainedModel]) -> dict[str, str]:
    """Predict whole granules; write products and pictures in order of arrival. Return their hashes by granule."""
    map_count = context.options.maps if context.options.maps >= 0 else len(context.pairs)
    digests = {}
    for product in iter_products(context, matched, models, map_count):
        for name, content in product.files.items():
            # Renamed when complete, so that an interrupted run leaves no truncated product.
            part = context.options.out / "maps" / f"{name}.part"
            part.write_bytes(content)
            part.replace(part.with_suffix(""))
        digests[product.key] = product.digest
        context.log(f"mapped {len(digests)}/{map_count}  {product.key}")
    return digests


def iter_products(
    context: RunContext, matched: Sequence[Any], models: Sequence[TrainedModel], map_count: int
) -> Iterator[tasks.GranuleProduct]:
    """Yield finished products in order of completion; no more are pending than there are threads, plus one."""
    remaining = list(zip(context.pairs, matched, strict=True))[:map_count]
    completed = as_completed()

    def submit_next() -> None:
        if remaining:
            pair, future = remaining.pop(0)
            completed.add(
                context.client.submit(tasks.build_product, pair, future, models[context.fold_of(pair.index)].future)
            )

    for _ in range(context.client.threads + 1):
        submit_next()
    for future in completed:
        yield future.result()
        future.release()
        submit_next()
