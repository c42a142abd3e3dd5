"""The order of it all: collocate, grow, judge, map.

Names go out from here; counts, progress and finished files come back. The client holds no array: matched rows and
trees travel between workers, and a product arrives as the bytes of its compressed file, one granule's at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
    log_tree_progress,
    make_folders,
)

from granules import caliop, file_names, forest_model, tasks
from granules.evaluation import Counts, EvaluationCounts
from granules.file_names import GranulePair
from granules.forest_model import ForestSettings
from granules.tasks import GranuleInfo, MatchLimits


@dataclass(frozen=True)
class Options:
    """What the command line asks for; ``maps`` below zero: of all granules; depth 0: no limit."""

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
    def recipe(self) -> ForestSettings:
        """How to grow the forests."""
        return ForestSettings(self.trees, self.depth, self.seed)

    @property
    def limits(self) -> MatchLimits:
        """What counts as a match."""
        return MatchLimits(self.km, self.minutes, self.indexed)


@dataclass(frozen=True)
class RunContext:
    """What the stages share."""

    options: Options
    client: DaskClient
    pairs: tuple[GranulePair, ...]
    timer: StageTimer
    log: Log

    def fold_of(self, turn: int) -> int:
        """The fold that holds a granule out: neighbours in time together, as they share their clouds."""
        return turn * self.options.folds // len(self.pairs)


@dataclass(frozen=True)
class GranulesResult:
    """All that a run found out; seconds and team aside, the same on one machine and on many."""

    options: Options
    infos: list[GranuleInfo]
    folds: list[int]
    model_digests: list[str]
    nodes: int
    counts: list[EvaluationCounts]
    importance: Counts
    prediction_digests: dict[str, str]
    seconds: dict[str, float]
    client: DaskClient

    @property
    def data_kind(self) -> str:
        """synthetic, real or mixed."""
        return data_kind(info.synthetic for info in self.infos)

    @property
    def model_digest(self) -> str:
        """SHA-256 over the models of all folds."""
        return hashlib.sha256("".join(self.model_digests).encode()).hexdigest()

    @property
    def prediction_digest(self) -> str:
        """SHA-256 over the predictions of all mapped granules, in order of their keys."""
        parts = [f"{key}{digest}" for key, digest in sorted(self.prediction_digests.items())]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def run(options: Options, say: Log) -> GranulesResult:
    """Collocate, train, judge and map; leaves index files, products and pictures in the output folder.

    :param say: takes progress, one line at a time.
    :raises SceneError: on input that cannot be used.
    :raises ClusterError: when the cluster cannot be reached.
    """
    clock = StageTimer()
    with ExitStack() as stack:
        with clock.stage("find"):
            pairs = file_names.find_pairs(options.data, minutes=options.minutes)
            check_inputs(options, pairs)
        with clock.stage("connect"):
            team = stack.enter_context(connect(options.scheduler, Path(__file__).parent))
        said = [
            format_count(len(pairs), "granule"),
            format_count(team.workers, "worker"),
            format_count(team.threads, "thread"),
        ]
        say(", ".join(said))
        return run_stages(RunContext(options, team, pairs, clock, say))


def check_inputs(options: Options, pairs: Sequence[GranulePair]) -> None:
    """Make the output folders; raise SceneError when that, or the number of folds, cannot be."""
    if not 2 <= options.folds <= len(pairs):
        raise SceneError(
            f"--folds {options.folds}: {format_count(len(pairs), 'granule')} here; each fold holds one or more out"
        )
    make_folders(options.out, options.out / "collocation", options.out / "maps")


def run_stages(job: RunContext) -> GranulesResult:
    """The stages that need workers, one after the other."""
    with job.timer.stage("collocate"):
        matched, infos = collocate_granules(job)
    with job.timer.stage("train"):
        models = train_folds(job, matched)
    with job.timer.stage("judge"):
        tallies, worth = evaluate_granules(job, matched, models)
    with job.timer.stage("map"):
        predictions = map_granules(job, matched, models)
    return GranulesResult(
        options=job.options,
        infos=infos,
        folds=[job.fold_of(pair.index) for pair in job.pairs],
        model_digests=[model.digest for model in models],
        nodes=sum(model.nodes for model in models),
        counts=tallies,
        importance=worth,
        prediction_digests=predictions,
        seconds=job.timer.seconds,
        client=job.client,
    )


def collocate_granules(job: RunContext) -> tuple[list[Any], list[GranuleInfo]]:
    """Match all granules with their tracks; index files are written as they come."""
    team, options = job.client, job.options
    matched = [team.submit(tasks.match_granule, pair, options.limits) for pair in job.pairs]
    briefs = [team.submit(tasks.granule_info, future) for future in matched]
    indexes = [team.submit(tasks.index_files_of, future) for future in matched]
    for count, future in enumerate(as_completed(briefs), 1):
        if future.status == "finished":
            info = future.result()
            found = f"{info.matched:,} matched, {info.mean_km:.2f} km, {info.mean_minutes:+.1f} min"
            job.log(f"granule {count}/{len(job.pairs)}  {info.key}  {info.lines} x {info.pixels}  {found}")
    infos = gather_results(briefs)
    for future in indexes:
        for name, content in future.result().items():
            (options.out / "collocation" / name).write_bytes(content)
        future.release()
    check_classes(job, infos)
    return matched, infos


def check_classes(job: RunContext, infos: Sequence[GranuleInfo]) -> None:
    """Raise SceneError when some fold would have nothing to tell apart, or no cloud top, to learn from."""
    kinds = np.array([info.class_counts for info in infos])
    folds = np.array([job.fold_of(pair.index) for pair in job.pairs])
    for fold in range(job.options.folds):
        there = kinds[folds != fold].sum(axis=0)
        if not there[caliop.CLEAR] or not there[caliop.WATER : caliop.CLOUDY].sum():
            what = "clear" if not there[caliop.CLEAR] else "cloudy"
            raise SceneError(f"{job.options.data}: no {what} column to learn from outside fold {fold}")


def train_folds(job: RunContext, matched: Sequence[Any]) -> list[TrainedModel]:
    """A model for each fold, from the granules outside it."""
    team, recipe, options = job.client, job.options.recipe, job.options
    planted = []
    for fold in range(options.folds):
        outside = [future for pair, future in zip(job.pairs, matched, strict=True) if job.fold_of(pair.index) != fold]
        table = team.submit(tasks.training_rows, outside)
        planted.append(
            {
                target: [
                    team.submit(tasks.fit_trees, table, target, recipe, seeds)
                    for seeds in group_seeds(recipe.seeds(target, fold))
                ]
                for target in forest_model.TARGETS
            }
        )
    growing = [future for groups in planted for target in forest_model.TARGETS for future in groups[target]]
    log_tree_progress(growing, len(forest_model.TARGETS) * recipe.trees * options.folds, job.log)
    models = [team.submit(tasks.merge_model, groups) for groups in planted]
    facts = [team.submit(tasks.describe_model, model).result() for model in models]
    return [TrainedModel(model, *fact) for model, fact in zip(models, facts, strict=True)]


def evaluate_granules(
    job: RunContext, matched: Sequence[Any], models: Sequence[TrainedModel]
) -> tuple[list[EvaluationCounts], Counts]:
    """Each granule by the model that has not seen it."""
    futures = [
        job.client.submit(tasks.evaluate_granule, future, models[job.fold_of(pair.index)].future, job.options.seed)
        for pair, future in zip(job.pairs, matched, strict=True)
    ]
    found = gather_results(futures)
    return [tally for tally, _ in found], np.sum([worth for _, worth in found], axis=0)


def map_granules(job: RunContext, matched: Sequence[Any], models: Sequence[TrainedModel]) -> dict[str, str]:
    """Predict whole granules; products and pictures are written as they come. Their hashes by granule."""
    wanted = job.options.maps if job.options.maps >= 0 else len(job.pairs)
    digests = {}
    for product in iter_products(job, matched, models, wanted):
        for name, content in product.files.items():
            part = job.options.out / "maps" / f"{name}.part"
            part.write_bytes(content)
            part.replace(part.with_suffix(""))
        digests[product.key] = product.digest
        job.log(f"mapped {len(digests)}/{wanted}  {product.key}")
    return digests


def iter_products(
    job: RunContext, matched: Sequence[Any], models: Sequence[TrainedModel], wanted: int
) -> Iterator[tasks.GranuleProduct]:
    """Finished products as they come; no more under way than there are threads."""
    waiting = list(zip(job.pairs, matched, strict=True))[:wanted]
    ready = as_completed()

    def more() -> None:
        if waiting:
            pair, future = waiting.pop(0)
            ready.add(job.client.submit(tasks.build_product, pair, future, models[job.fold_of(pair.index)].future))

    for _ in range(job.client.threads + 1):
        more()
    for future in ready:
        yield future.result()
        future.release()
        more()
