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
from retrieval.dask_client import DaskClient, connect
from retrieval.evaluation import Scores
from retrieval.features import Footprint
from retrieval.forest import ForestSettings, Target
from retrieval.scenes import SceneError, SceneInfo, SceneSource
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
from retrieval.tasks import SceneRef, SceneSplit


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
    def recipe(self) -> ForestSettings:
        """How to grow the forests."""
        return ForestSettings(trees=self.trees, depth=self.depth, seed=self.seed)

    @property
    def cut(self) -> SceneSplit:
        """How training scenes are cut: inside, unless others are held out."""
        footprint = Footprint(self.neighbourhood)
        fold = -1 if self.held_out else self.fold
        return SceneSplit(footprint, self.blocks, fold, max(self.buffer, 2 * footprint.halo))


@dataclass(frozen=True)
class SampledScenes:
    """Training samples, still on the workers, and what is known of them here."""

    futures: list[Any]
    infos: list[SceneInfo]
    rows: int
    cloudy_rows: int


@dataclass(frozen=True)
class RetrievalResult:
    """All that a run found out; seconds and team aside, the same on one machine and on many."""

    options: Options
    trained: TrainedModel
    sampled: SampledScenes
    evaluated: list[SceneInfo]
    scores: Scores
    per_scene: dict[str, Scores]
    prediction_digest: str
    seconds: dict[str, float]
    client: DaskClient

    @property
    def data_kind(self) -> str:
        """synthetic, real or mixed, over training and judged scenes."""
        return data_kind(info.synthetic for info in (*self.sampled.infos, *self.evaluated))


def run(options: Options, say: Log) -> RetrievalResult:
    """Train and judge; leaves predictions.h5 in the output folder.

    :param say: takes progress, one line at a time.
    :raises SceneError: on input that cannot be used.
    :raises ClusterError: when the cluster cannot be reached.
    """
    clock = StageTimer()
    with ExitStack() as stack:
        with clock.stage("find"):
            training = scenes.find_scenes(options.data, match=options.match)
            held_out = scenes.find_scenes(options.held_out, match=options.match) if options.held_out else None
            check_inputs(options, training, held_out)
        with clock.stage("connect"):
            team = stack.enter_context(connect(options.scheduler))
        scenes_here = format_count(len(training.names), "scene")
        say(
            f"{scenes_here} to train on, {format_count(team.workers, 'worker')}, {format_count(team.threads, 'thread')}"
        )
        return run_stages(RunContext(options, team, training, held_out, clock, say))


@dataclass(frozen=True)
class RunContext:
    """What the stages share."""

    options: Options
    client: DaskClient
    training: SceneSource
    held_out: SceneSource | None
    timer: StageTimer
    log: Log


def check_inputs(options: Options, training: SceneSource, held_out: SceneSource | None) -> None:
    """Make the output folder; raise SceneError when that, or what is asked of the scenes, cannot be."""
    if options.rows < len(training.names):
        raise SceneError(f"--rows {options.rows}: less than one for each of {len(training.names)} scenes")
    both = held_out.addresses() & training.addresses() if held_out else set()
    if both:
        raise SceneError(f"{min(both)}: trained on and held out at once")
    make_folders(options.out)


def run_stages(job: RunContext) -> RetrievalResult:
    """The stages that need workers, one after the other."""
    with job.timer.stage("read"):
        sampled, judged = sample_scenes(job)
    with job.timer.stage("train"):
        trained = train_model(job, sampled)
    path = job.options.out / "predictions.h5"
    with job.timer.stage("predict"):
        write_predictions(job, sampled, judged, trained, path)
    with job.timer.stage("judge"):
        score, each = evaluation.evaluate(path)
        digest = predictions_file.digest(path)
    return RetrievalResult(job.options, trained, sampled, judged, score, each, digest, job.timer.seconds, job.client)


def scene_refs(source: SceneSource) -> list[SceneRef]:
    """The scenes of a source, numbered."""
    return [SceneRef(source.root, name, turn) for turn, name in enumerate(source.names)]


def sample_scenes(job: RunContext) -> tuple[SampledScenes, list[SceneInfo]]:
    """Check all scenes and sample those to train on; also the scenes to judge."""
    options, team = job.options, job.client
    looks = (
        [team.submit(tasks.inspect_scene, place, options.cut) for place in scene_refs(job.held_out)]
        if job.held_out
        else []
    )
    training = scene_refs(job.training)
    futures = [
        team.submit(tasks.draw_sample, place, options.cut, options.seed, quota)
        for place, quota in zip(training, row_quotas(options.rows, len(training)), strict=True)
    ]
    briefs = [team.submit(tasks.summarize_sample, future) for future in futures]
    numbers = {future.key: place for future, place in zip(briefs, training, strict=True)}
    for count, future in enumerate(as_completed(briefs), 1):
        if future.status == "finished":
            info, rows, cloudy, _ = future.result()
            job.log(
                f"scene {count}/{len(training)}  {numbers[future.key].name}  {info.rows} x {info.columns}"
                f"  rows {rows:,} ({cloudy:,} cloudy)"
            )
    infos, rows, cloudy, known = zip(*gather_results([*looks, *briefs])[len(looks) :], strict=True)
    sampled = SampledScenes(futures, list(infos), sum(rows), sum(cloudy))
    check_training_rows(sampled, job, sum(known))
    return sampled, gather_results(looks) if job.held_out else sampled.infos


def row_quotas(rows: int, count: int) -> list[int]:
    """Shares of ``rows`` for ``count`` scenes, the first ones one more where it does not divide."""
    return [rows // count + (turn < rows % count) for turn in range(count)]


def check_training_rows(sampled: SampledScenes, job: RunContext, known: int) -> None:
    """Raise SceneError when there is nothing to tell apart, or no droplet size (``known`` rows have one) to learn."""
    if not 0 < sampled.cloudy_rows < sampled.rows:
        what = "cloudy" if sampled.cloudy_rows else "clear"
        raise SceneError(f"{job.options.data}: all {sampled.rows:,} training pixels are {what}; both kinds are needed")
    if not known:
        raise SceneError(f"{job.options.data}: CER is known in none of {sampled.cloudy_rows:,} cloudy training pixels")


def train_model(job: RunContext, sampled: SampledScenes) -> TrainedModel:
    """Grow both forests in groups of trees and merge them in the order of their seeds."""
    team, recipe = job.client, job.options.recipe
    table = team.submit(tasks.build_table, sampled.futures)
    groups: dict[Target, list[Any]] = {
        target: [
            team.submit(tasks.fit_trees, table, target, recipe, seeds) for seeds in group_seeds(recipe.seeds(target))
        ]
        for target in forest.TARGETS
    }
    growing = [future for target in forest.TARGETS for future in groups[target]]
    log_tree_progress(growing, len(forest.TARGETS) * recipe.trees, job.log)
    model = team.submit(tasks.merge_model, groups["mask"], groups["micro"], team.submit(tasks.target_scale, table))
    digest, nodes = team.submit(tasks.describe_model, model).result()
    return TrainedModel(model, digest, nodes)


def write_predictions(
    job: RunContext, sampled: SampledScenes, judged: list[SceneInfo], trained: TrainedModel, path: Path
) -> None:
    """Predict every judged scene in blocks of rows and write the blocks as they come."""
    source = job.held_out or job.training
    items = list(prediction_items(source, judged, job.options.blocks))
    left = {info.name: info.pixels for info in judged}
    data = data_kind(info.synthetic for info in (*sampled.infos, *judged))
    with predictions_file.open_writer(path, judged, data=data, model=trained.digest) as writer:
        for _, blocks in job.client.stream(tasks.predict_ranges, items, job.options.cut, trained.future):
            for block in blocks:
                writer.put(block)
                left[block.name] -= block.planes["cloud_mask_probability"].size
                if not left[block.name]:
                    done = sum(not pixels for pixels in left.values())
                    job.log(f"predicted {done}/{len(judged)}  {block.name}")


def prediction_items(
    source: SceneSource, infos: Sequence[SceneInfo], blocks: int
) -> Iterator[tuple[SceneRef, list[tuple[int, int]]]]:
    """Work for prediction tasks: one range of rows each; a staged scene goes to one task, so that it is staged once."""
    for place, info in zip(scene_refs(source), infos, strict=True):
        ranges = scenes.row_ranges((info.rows, info.columns), blocks)
        if source.is_remote:
            yield place, ranges
        else:
            yield from ((place, [span]) for span in ranges)
