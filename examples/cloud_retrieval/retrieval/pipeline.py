"""The stages of a run: find, connect, read, train, predict, judge.

The client sends out names only and receives counts, progress and predictions; rows and trees travel between workers.
Every intermediate result is a task that Dask can repeat, so that the loss of a worker costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assessment import quality
from boosting import tasks as boosting_tasks
from boosting import training as boosting_training
from boosting.members import BoostingSettings
from distributed import as_completed
from serving import saved_model
from serving.saved_model import SavedModel

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
    log_progress,
    make_folders,
)
from retrieval.tasks import SceneRef, SceneSplit

# Boosting: members per target and tile group in each stage, by number of stages; see README.md.
MEMBERS = {1: (1,), 2: (1, 2)}
# About 1.3 KB each with everything that training derives from a row: 256 MiB.
ROWS_IN_MEMORY = 200_000
FEW_ROWS = 24_000


@dataclass(frozen=True)
class Options:
    """Options of the command line.

    ``model`` is ``trees`` or ``boosting``; ``fast`` is boosting in one stage. ``rows`` caps the training rows of all
    scenes together (0: see ``row_limit``); 0 blocks: of 65,536 pixels; depth 0: no limit.
    """

    data: str
    out: Path
    held_out: str = ""
    scheduler: str = ""
    match: str = "*"
    model: str = "boosting"
    fast: bool = False
    trees: int = 60
    depth: int = 16
    rows: int = 0
    blocks: int = 0
    seed: int = 1
    neighbourhood: int = 3
    fold: int = 0
    buffer: int = 0

    @property
    def forest_settings(self) -> ForestSettings:
        """Settings of both forests."""
        return ForestSettings(trees=self.trees, depth=self.depth, seed=self.seed)

    @property
    def boosting_settings(self) -> BoostingSettings:
        """Settings of boosting: one stage if there is no context to use, as for the pixel alone."""
        stages = 2 if self.footprint.context else 1
        return BoostingSettings(stages, MEMBERS[stages], self.seed)

    @property
    def footprint(self) -> Footprint:
        """Surroundings of a pixel that the model uses."""
        boosting = self.model == "boosting" and self.neighbourhood > 1
        return Footprint(self.neighbourhood, contrast=boosting, context=int(boosting and not self.fast))

    @property
    def split(self) -> SceneSplit:
        """Division of the scenes: inside scenes, unless others are held out."""
        fold = -1 if self.held_out else self.fold
        return SceneSplit(self.footprint, self.blocks, fold, max(self.buffer, 2 * self.footprint.reach))

    @property
    def row_limit(self) -> int:
        """Largest number of training rows, all scenes together."""
        if self.rows:
            return self.rows
        return ROWS_IN_MEMORY if self.model == "boosting" and not self.fast else FEW_ROWS


@dataclass(frozen=True)
class SampledScenes:
    """Training samples, which stay on the workers, and their properties.

    ``rows_left_out`` counts the training pixels that were not drawn, because of the limit on rows.
    """

    futures: list[Any]
    infos: list[SceneInfo]
    rows: int
    cloudy_rows: int
    rows_left_out: int


@dataclass(frozen=True)
class RetrievalResult:
    """Results of a run; apart from seconds and client they are the same on one machine and on many."""

    options: Options
    trained: TrainedModel
    sampled: SampledScenes
    evaluated: list[SceneInfo]
    scores: Scores
    per_scene: dict[str, Scores]
    assessment: dict[str, Any]
    prediction_digest: str
    seconds: dict[str, float]
    client: DaskClient

    @property
    def data_kind(self) -> str:
        """``synthetic``, ``real`` or ``mixed``, over training and test scenes."""
        return data_kind(info.synthetic for info in (*self.sampled.infos, *self.evaluated))


def run(options: Options, log: Log) -> RetrievalResult:
    """Train and evaluate; writes predictions.h5 to the output folder.

    :param log: called with progress, one line at a time.
    :raises SceneError: on unusable input.
    :raises ClusterError: if the cluster cannot be reached.
    """
    timer = StageTimer()
    with ExitStack() as stack:
        with timer.stage("find"):
            # Before connecting: missing files are reported at once, also when no cluster is available.
            training = scenes.find_scenes(options.data, match=options.match)
            held_out = scenes.find_scenes(options.held_out, match=options.match) if options.held_out else None
            check_inputs(options, training, held_out)
        with timer.stage("connect"):
            client = stack.enter_context(connect(options.scheduler, Path(boosting_tasks.__file__).parent))
        counts = {"training scene": len(training.names), "worker": client.workers, "thread": client.threads}
        log(", ".join(format_count(count, noun) for noun, count in counts.items()))
        return run_stages(RunContext(options, client, training, held_out, timer, log))


@dataclass(frozen=True)
class RunContext:
    """Inputs shared by the stages."""

    options: Options
    client: DaskClient
    training: SceneSource
    held_out: SceneSource | None
    timer: StageTimer
    log: Log


def check_inputs(options: Options, training: SceneSource, held_out: SceneSource | None) -> None:
    """Create the output folder; raise SceneError if that fails or the options do not fit the scenes."""
    if options.row_limit < len(training.names):
        raise SceneError(f"--rows {options.row_limit}: fewer than one for each of {len(training.names)} scenes")
    overlap = held_out.addresses() & training.addresses() if held_out else set()
    if overlap:
        raise SceneError(f"{min(overlap)}: is both a training scene and a held-out scene")
    make_folders(options.out)


def run_stages(context: RunContext) -> RetrievalResult:
    """Run the stages that need workers, one after the other."""
    with context.timer.stage("read"):
        sampled, evaluated = sample_scenes(context)
    with context.timer.stage("train"):
        trained = train_model(context, sampled)
        save_model(context.options, trained)
    path = context.options.out / "predictions.h5"
    with context.timer.stage("predict"):
        write_predictions(context, sampled, evaluated, trained, path)
    with context.timer.stage("judge"):
        scores, per_scene = evaluation.evaluate(path)
        assessment = quality.assess(path)
        digest = predictions_file.digest(path)
    seconds = context.timer.seconds
    return RetrievalResult(
        context.options, trained, sampled, evaluated, scores, per_scene, assessment, digest, seconds, context.client
    )


def scene_refs(source: SceneSource) -> list[SceneRef]:
    """Return the scenes of a source, numbered."""
    return [SceneRef(source.root, name, index) for index, name in enumerate(source.names)]


def sample_scenes(context: RunContext) -> tuple[SampledScenes, list[SceneInfo]]:
    """Check all scenes and sample the training scenes; also return the test scenes."""
    options, client = context.options, context.client
    # Test scenes are checked before training starts: a bad file is reported at once, not after the longest stage.
    inspections = (
        [client.submit(tasks.inspect_scene, ref, options.split) for ref in scene_refs(context.held_out)]
        if context.held_out
        else []
    )
    training = scene_refs(context.training)
    futures = [
        client.submit(tasks.draw_sample, ref, options.split, options.seed, quota)
        for ref, quota in zip(training, row_quotas(options.row_limit, len(training)), strict=True)
    ]
    summaries = [client.submit(tasks.summarize_sample, future) for future in futures]
    ref_by_key = {future.key: ref for future, ref in zip(summaries, training, strict=True)}
    for count, future in enumerate(as_completed(summaries), 1):
        if future.status == "finished":
            info, rows, cloudy, _, _ = future.result()
            context.log(
                f"scene {count}/{len(training)}  {ref_by_key[future.key].name}  {info.rows} x {info.columns}"
                f"  rows {rows:,} ({cloudy:,} cloudy)"
            )
    columns = zip(*gather_results([*inspections, *summaries])[len(inspections) :], strict=True)
    infos, rows, cloudy, with_cer, left_out = columns
    sampled = SampledScenes(futures, list(infos), sum(rows), sum(cloudy), sum(left_out))
    check_training_rows(sampled, context, sum(with_cer))
    context.log(rows_line(sampled, options))
    return sampled, gather_results(inspections) if context.held_out else sampled.infos


def rows_line(sampled: SampledScenes, options: Options) -> str:
    """Return the line that tells how many training pixels are used and left out."""
    if not sampled.rows_left_out:
        return f"training rows {sampled.rows:,}: all training pixels"
    total = sampled.rows + sampled.rows_left_out
    limit = f"limit {options.row_limit:,}, --rows changes it"
    return f"training rows {sampled.rows:,} of {total:,} training pixels, {sampled.rows_left_out:,} left out ({limit})"


def row_quotas(rows: int, count: int) -> list[int]:
    """Divide ``rows`` among ``count`` scenes; the first scenes get one more if the division has a remainder."""
    return [rows // count + (index < rows % count) for index in range(count)]


def check_training_rows(sampled: SampledScenes, context: RunContext, with_cer: int) -> None:
    """Raise SceneError if the training rows lack a class or have no droplet size (``with_cer``: rows that do)."""
    if not 0 < sampled.cloudy_rows < sampled.rows:
        only_class = "cloudy" if sampled.cloudy_rows else "clear"
        raise SceneError(
            f"{context.options.data}: all {sampled.rows:,} training pixels are {only_class}; both classes are needed"
        )
    if not with_cer:
        raise SceneError(
            f"{context.options.data}: none of {sampled.cloudy_rows:,} cloudy training pixels has a known CER"
        )


def train_model(context: RunContext, sampled: SampledScenes) -> TrainedModel:
    """Train the model that the options name."""
    options = context.options
    if options.model == "trees":
        return train_forests(context, sampled)
    refs = scene_refs(context.training)
    return boosting_training.train(
        context.client, options.boosting_settings, options.split, refs, sampled.futures, context.log
    )


def save_model(options: Options, trained: TrainedModel) -> None:
    """Write the model to the output folder, for predictions later."""
    saved_model.save(SavedModel(options.model, trained.future.result(), options.split), options.out)


def train_forests(context: RunContext, sampled: SampledScenes) -> TrainedModel:
    """Train both forests in groups of trees and merge them in the order of their seeds."""
    client, settings = context.client, context.options.forest_settings
    table = client.submit(tasks.build_table, sampled.futures)
    groups: dict[Target, list[Any]] = {
        target: [
            client.submit(tasks.fit_trees, table, target, settings, seeds)
            for seeds in group_seeds(settings.seeds(target))
        ]
        for target in forest.TARGETS
    }
    pending = [future for target in forest.TARGETS for future in groups[target]]
    log_progress(pending, len(forest.TARGETS) * settings.trees, "trees", context.log)
    model = client.submit(tasks.merge_model, groups["mask"], groups["micro"], client.submit(tasks.target_scale, table))
    digest, nodes = client.submit(tasks.describe_model, model).result()
    return TrainedModel(model, digest, nodes)


def write_predictions(
    context: RunContext, sampled: SampledScenes, evaluated: list[SceneInfo], trained: TrainedModel, path: Path
) -> None:
    """Predict every test scene in blocks of rows and write the blocks in order of arrival."""
    source = context.held_out or context.training
    items = list(prediction_items(source, evaluated, context.options.blocks))
    pixels_left = {info.name: info.pixels for info in evaluated}
    data = data_kind(info.synthetic for info in (*sampled.infos, *evaluated))
    with predictions_file.open_writer(path, evaluated, data=data, model=trained.digest) as writer:
        for _, blocks in context.client.stream(
            tasks.predict_ranges, items, context.options.split, trained.future, predictor(context.options)
        ):
            for block in blocks:
                # HDF5 is written by the client alone; it does not support concurrent writers.
                writer.put(block)
                pixels_left[block.name] -= block.planes["cloud_mask_probability"].size
                if not pixels_left[block.name]:
                    done = sum(not pixels for pixels in pixels_left.values())
                    context.log(f"predicted {done}/{len(evaluated)}  {block.name}")


def predictor(options: Options) -> tasks.Predictor:
    """Return the function that applies the model to some rows of a scene."""
    return tasks.predict_planes if options.model == "trees" else boosting_tasks.predict_planes


def prediction_items(
    source: SceneSource, infos: Sequence[SceneInfo], blocks: int
) -> Iterator[tuple[SceneRef, list[tuple[int, int]]]]:
    """Yield one item per prediction task: one range of rows, or all ranges of a staged scene, which is staged once."""
    for ref, info in zip(scene_refs(source), infos, strict=True):
        shape = (info.rows, info.columns)
        ranges = scenes.row_ranges(shape, blocks or scenes.prediction_blocks(shape))
        if source.is_remote:
            yield ref, ranges
        else:
            yield from ((ref, [row_range]) for row_range in ranges)
