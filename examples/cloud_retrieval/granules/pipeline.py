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
from retrieval.dask_client import Crew, crew
from retrieval.scenes import SceneError
from retrieval.stages import Clock, Say, Trained, collected, follow, grouped, kind, made, plural

from granules import caliop, file_names, forest_model, tasks
from granules.evaluation import Counts, Tally
from granules.file_names import Pair
from granules.forest_model import Recipe
from granules.tasks import Info, Limits


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
    def recipe(self) -> Recipe:
        """How to grow the forests."""
        return Recipe(self.trees, self.depth, self.seed)

    @property
    def limits(self) -> Limits:
        """What counts as a match."""
        return Limits(self.km, self.minutes, self.indexed)


@dataclass(frozen=True)
class Job:
    """What the stages share."""

    options: Options
    team: Crew
    pairs: tuple[Pair, ...]
    clock: Clock
    say: Say

    def fold(self, turn: int) -> int:
        """The fold that holds a granule out: neighbours in time together, as they share their clouds."""
        return turn * self.options.folds // len(self.pairs)


@dataclass(frozen=True)
class Outcome:
    """All that a run found out; seconds and team aside, the same on one machine and on many."""

    options: Options
    infos: list[Info]
    folds: list[int]
    models: list[str]
    nodes: int
    tallies: list[Tally]
    worth: Counts
    predictions: dict[str, str]
    seconds: dict[str, float]
    team: Crew

    @property
    def data(self) -> str:
        """synthetic, real or mixed."""
        return kind(info.synthetic for info in self.infos)

    @property
    def model_digest(self) -> str:
        """SHA-256 over the models of all folds."""
        return hashlib.sha256("".join(self.models).encode()).hexdigest()

    @property
    def prediction_digest(self) -> str:
        """SHA-256 over the predictions of all mapped granules, in order of their keys."""
        parts = [f"{key}{digest}" for key, digest in sorted(self.predictions.items())]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def run(options: Options, say: Say) -> Outcome:
    """Collocate, train, judge and map; leaves index files, products and pictures in the output folder.

    :param say: takes progress, one line at a time.
    :raises SceneError: on input that cannot be used.
    :raises ClusterError: when the cluster cannot be reached.
    """
    clock = Clock()
    with ExitStack() as stack:
        with clock.stage("find"):
            pairs = file_names.find(options.data, minutes=options.minutes)
            sensible(options, pairs)
        with clock.stage("connect"):
            team = stack.enter_context(crew(options.scheduler, Path(__file__).parent))
        said = [plural(len(pairs), "granule"), plural(team.workers, "worker"), plural(team.threads, "thread")]
        say(", ".join(said))
        return work(Job(options, team, pairs, clock, say))


def sensible(options: Options, pairs: Sequence[Pair]) -> None:
    """Make the output folders; raise SceneError when that, or the number of folds, cannot be."""
    if not 2 <= options.folds <= len(pairs):
        raise SceneError(
            f"--folds {options.folds}: {plural(len(pairs), 'granule')} here; each fold holds one or more out"
        )
    made(options.out, options.out / "collocation", options.out / "maps")


def work(job: Job) -> Outcome:
    """The stages that need workers, one after the other."""
    with job.clock.stage("collocate"):
        matched, infos = collocate(job)
    with job.clock.stage("train"):
        models = train(job, matched)
    with job.clock.stage("judge"):
        tallies, worth = judged(job, matched, models)
    with job.clock.stage("map"):
        predictions = mapped(job, matched, models)
    return Outcome(
        options=job.options,
        infos=infos,
        folds=[job.fold(pair.turn) for pair in job.pairs],
        models=[model.digest for model in models],
        nodes=sum(model.nodes for model in models),
        tallies=tallies,
        worth=worth,
        predictions=predictions,
        seconds=job.clock.seconds,
        team=job.team,
    )


def collocate(job: Job) -> tuple[list[Any], list[Info]]:
    """Match all granules with their tracks; index files are written as they come."""
    team, options = job.team, job.options
    matched = [team.submit(tasks.match, pair, options.limits) for pair in job.pairs]
    briefs = [team.submit(tasks.info_of, future) for future in matched]
    indexes = [team.submit(tasks.files_of, future) for future in matched]
    for count, future in enumerate(as_completed(briefs), 1):
        if future.status == "finished":
            info = future.result()
            found = f"{info.matched:,} matched, {info.mean_km:.2f} km, {info.mean_minutes:+.1f} min"
            job.say(f"granule {count}/{len(job.pairs)}  {info.key}  {info.lines} x {info.pixels}  {found}")
    infos = collected(briefs)
    for future in indexes:
        for name, content in future.result().items():
            (options.out / "collocation" / name).write_bytes(content)
        future.release()
    enough(job, infos)
    return matched, infos


def enough(job: Job, infos: Sequence[Info]) -> None:
    """Raise SceneError when some fold would have nothing to tell apart, or no cloud top, to learn from."""
    kinds = np.array([info.kinds for info in infos])
    folds = np.array([job.fold(pair.turn) for pair in job.pairs])
    for fold in range(job.options.folds):
        there = kinds[folds != fold].sum(axis=0)
        if not there[caliop.CLEAR] or not there[caliop.WATER : caliop.CLOUDY].sum():
            what = "clear" if not there[caliop.CLEAR] else "cloudy"
            raise SceneError(f"{job.options.data}: no {what} column to learn from outside fold {fold}")


def train(job: Job, matched: Sequence[Any]) -> list[Trained]:
    """A model for each fold, from the granules outside it."""
    team, recipe, options = job.team, job.options.recipe, job.options
    planted = []
    for fold in range(options.folds):
        outside = [future for pair, future in zip(job.pairs, matched, strict=True) if job.fold(pair.turn) != fold]
        table = team.submit(tasks.assemble, outside)
        planted.append(
            {
                target: [
                    team.submit(tasks.grow, table, target, recipe, seeds)
                    for seeds in grouped(recipe.seeds(target, fold))
                ]
                for target in forest_model.TARGETS
            }
        )
    growing = [future for groups in planted for target in forest_model.TARGETS for future in groups[target]]
    follow(growing, len(forest_model.TARGETS) * recipe.trees * options.folds, job.say)
    models = [team.submit(tasks.merge, groups) for groups in planted]
    facts = [team.submit(tasks.describe, model).result() for model in models]
    return [Trained(model, *fact) for model, fact in zip(models, facts, strict=True)]


def judged(job: Job, matched: Sequence[Any], models: Sequence[Trained]) -> tuple[list[Tally], Counts]:
    """Each granule by the model that has not seen it."""
    futures = [
        job.team.submit(tasks.judged, future, models[job.fold(pair.turn)].future, job.options.seed)
        for pair, future in zip(job.pairs, matched, strict=True)
    ]
    found = collected(futures)
    return [tally for tally, _ in found], np.sum([worth for _, worth in found], axis=0)


def mapped(job: Job, matched: Sequence[Any], models: Sequence[Trained]) -> dict[str, str]:
    """Predict whole granules; products and pictures are written as they come. Their hashes by granule."""
    wanted = job.options.maps if job.options.maps >= 0 else len(job.pairs)
    digests = {}
    for product in products(job, matched, models, wanted):
        for name, content in product.files.items():
            part = job.options.out / "maps" / f"{name}.part"
            part.write_bytes(content)
            part.replace(part.with_suffix(""))
        digests[product.key] = product.digest
        job.say(f"mapped {len(digests)}/{wanted}  {product.key}")
    return digests


def products(job: Job, matched: Sequence[Any], models: Sequence[Trained], wanted: int) -> Iterator[tasks.Product]:
    """Finished products as they come; no more under way than there are threads."""
    waiting = list(zip(job.pairs, matched, strict=True))[:wanted]
    ready = as_completed()

    def more() -> None:
        if waiting:
            pair, future = waiting.pop(0)
            ready.add(job.team.submit(tasks.mapped, pair, future, models[job.fold(pair.turn)].future))

    for _ in range(job.team.threads + 1):
        more()
    for future in ready:
        yield future.result()
        future.release()
        more()
