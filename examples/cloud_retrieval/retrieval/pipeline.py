"""The order of it all: read and sample, grow, predict, judge.

Nothing but names goes out from here and nothing but counts, progress and predictions comes back; rows and
trees travel between workers. Every intermediate result is a task that Dask can repeat, so a worker that dies costs
time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import as_completed

from retrieval import evaluation, forest, predictions_file, scenes, tasks
from retrieval.dask_client import Crew, crew
from retrieval.evaluation import Score
from retrieval.features import Footprint
from retrieval.forest import Recipe, Target
from retrieval.scenes import Info, SceneError, Source
from retrieval.stages import Clock, Say, Trained, collected, follow, grouped, kind, made, plural
from retrieval.tasks import Cut, Place


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    ``rows`` caps the training rows of all scenes together; 0 blocks: of 65,536 pixels; depth 0: no limit.
    """

    data: str
    out: Path
    held_out: str = ""
    scheduler: str = ""
    match: str = "*"
    trees: int = 60
    depth: int = 16
    rows: int = 24_000
    blocks: int = 0
    seed: int = 1
    neighbourhood: int = 3
    fold: int = 0
    buffer: int = 0

    @property
    def recipe(self) -> Recipe:
        """How to grow the forests."""
        return Recipe(trees=self.trees, depth=self.depth, seed=self.seed)

    @property
    def cut(self) -> Cut:
        """How training scenes are cut: inside, unless others are held out."""
        footprint = Footprint(self.neighbourhood)
        fold = -1 if self.held_out else self.fold
        return Cut(footprint, self.blocks, fold, max(self.buffer, 2 * footprint.halo))


@dataclass(frozen=True)
class Sampled:
    """Training samples, still on the workers, and what is known of them here."""

    futures: list[Any]
    infos: list[Info]
    rows: int
    cloudy_rows: int


@dataclass(frozen=True)
class Outcome:
    """All that a run found out; seconds and team aside, the same on one machine and on many."""

    options: Options
    trained: Trained
    sampled: Sampled
    judged: list[Info]
    score: Score
    per_scene: dict[str, Score]
    prediction_digest: str
    seconds: dict[str, float]
    team: Crew

    @property
    def data(self) -> str:
        """synthetic, real or mixed, over training and judged scenes."""
        return kind(info.synthetic for info in (*self.sampled.infos, *self.judged))


def run(options: Options, say: Say) -> Outcome:
    """Train and judge; leaves predictions.h5 in the output folder.

    :param say: takes progress, one line at a time.
    :raises SceneError: on input that cannot be used.
    :raises ClusterError: when the cluster cannot be reached.
    """
    clock = Clock()
    with ExitStack() as stack:
        with clock.stage("find"):
            training = scenes.find(options.data, match=options.match)
            held_out = scenes.find(options.held_out, match=options.match) if options.held_out else None
            sensible(options, training, held_out)
        with clock.stage("connect"):
            team = stack.enter_context(crew(options.scheduler))
        scenes_here = plural(len(training.names), "scene")
        say(f"{scenes_here} to train on, {plural(team.workers, 'worker')}, {plural(team.threads, 'thread')}")
        return work(Job(options, team, training, held_out, clock, say))


@dataclass(frozen=True)
class Job:
    """What the stages share."""

    options: Options
    team: Crew
    training: Source
    held_out: Source | None
    clock: Clock
    say: Say


def sensible(options: Options, training: Source, held_out: Source | None) -> None:
    """Make the output folder; raise SceneError when that, or what is asked of the scenes, cannot be."""
    if options.rows < len(training.names):
        raise SceneError(f"--rows {options.rows}: less than one for each of {len(training.names)} scenes")
    both = held_out.addresses() & training.addresses() if held_out else set()
    if both:
        raise SceneError(f"{min(both)}: trained on and held out at once")
    made(options.out)


def work(job: Job) -> Outcome:
    """The stages that need workers, one after the other."""
    with job.clock.stage("read"):
        sampled, judged = read(job)
    with job.clock.stage("train"):
        trained = train(job, sampled)
    path = job.options.out / "predictions.h5"
    with job.clock.stage("predict"):
        predict(job, sampled, judged, trained, path)
    with job.clock.stage("judge"):
        score, each = evaluation.judge(path)
        digest = predictions_file.digest(path)
    return Outcome(job.options, trained, sampled, judged, score, each, digest, job.clock.seconds, job.team)


def places(source: Source) -> list[Place]:
    """The scenes of a source, numbered."""
    return [Place(source.root, name, turn) for turn, name in enumerate(source.names)]


def read(job: Job) -> tuple[Sampled, list[Info]]:
    """Check all scenes and sample those to train on; also the scenes to judge."""
    options, team = job.options, job.team
    looks = [team.submit(tasks.look, place, options.cut) for place in places(job.held_out)] if job.held_out else []
    training = places(job.training)
    futures = [
        team.submit(tasks.sample, place, options.cut, options.seed, quota)
        for place, quota in zip(training, quotas(options.rows, len(training)), strict=True)
    ]
    briefs = [team.submit(tasks.info_of, future) for future in futures]
    numbers = {future.key: place for future, place in zip(briefs, training, strict=True)}
    for count, future in enumerate(as_completed(briefs), 1):
        if future.status == "finished":
            info, rows, cloudy, _ = future.result()
            job.say(
                f"scene {count}/{len(training)}  {numbers[future.key].name}  {info.rows} x {info.columns}"
                f"  rows {rows:,} ({cloudy:,} cloudy)"
            )
    infos, rows, cloudy, known = zip(*collected([*looks, *briefs])[len(looks) :], strict=True)
    sampled = Sampled(futures, list(infos), sum(rows), sum(cloudy))
    enough(sampled, job, sum(known))
    return sampled, collected(looks) if job.held_out else sampled.infos


def quotas(rows: int, count: int) -> list[int]:
    """Shares of ``rows`` for ``count`` scenes, the first ones one more where it does not divide."""
    return [rows // count + (turn < rows % count) for turn in range(count)]


def enough(sampled: Sampled, job: Job, known: int) -> None:
    """Raise SceneError when there is nothing to tell apart, or no droplet size (``known`` rows have one) to learn."""
    if not 0 < sampled.cloudy_rows < sampled.rows:
        what = "cloudy" if sampled.cloudy_rows else "clear"
        raise SceneError(f"{job.options.data}: all {sampled.rows:,} training pixels are {what}; both kinds are needed")
    if not known:
        raise SceneError(f"{job.options.data}: CER is known in none of {sampled.cloudy_rows:,} cloudy training pixels")


def train(job: Job, sampled: Sampled) -> Trained:
    """Grow both forests in groups of trees and merge them in the order of their seeds."""
    team, recipe = job.team, job.options.recipe
    table = team.submit(tasks.assemble, sampled.futures)
    groups: dict[Target, list[Any]] = {
        target: [team.submit(tasks.grow, table, target, recipe, seeds) for seeds in grouped(recipe.seeds(target))]
        for target in forest.TARGETS
    }
    growing = [future for target in forest.TARGETS for future in groups[target]]
    follow(growing, len(forest.TARGETS) * recipe.trees, job.say)
    model = team.submit(tasks.merge, groups["mask"], groups["micro"], team.submit(tasks.scale_of, table))
    digest, nodes = team.submit(tasks.describe, model).result()
    return Trained(model, digest, nodes)


def predict(job: Job, sampled: Sampled, judged: list[Info], trained: Trained, path: Path) -> None:
    """Predict every judged scene in blocks of rows and write the blocks as they come."""
    source = job.held_out or job.training
    items = list(portions(source, judged, job.options.blocks))
    left = {info.name: info.pixels for info in judged}
    data = kind(info.synthetic for info in (*sampled.infos, *judged))
    with predictions_file.writing(path, judged, data=data, model=trained.digest) as writer:
        for _, blocks in job.team.stream(tasks.predict, items, job.options.cut, trained.future):
            for block in blocks:
                writer.put(block)
                left[block.name] -= block.planes["cloud_mask_probability"].size
                if not left[block.name]:
                    done = sum(not pixels for pixels in left.values())
                    job.say(f"predicted {done}/{len(judged)}  {block.name}")


def portions(source: Source, infos: Sequence[Info], blocks: int) -> Iterator[tuple[Place, list[tuple[int, int]]]]:
    """Work for prediction tasks: one range of rows each; a staged scene goes to one task, so that it is staged once."""
    for place, info in zip(places(source), infos, strict=True):
        ranges = scenes.spans((info.rows, info.columns), blocks)
        if source.remote:
            yield place, ranges
        else:
            yield from ((place, [span]) for span in ranges)
