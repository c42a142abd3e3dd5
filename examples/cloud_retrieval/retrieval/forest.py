"""The forests: extremely randomised trees (Geurts et al. 2006), each tree with a seed of its own.

Two forests share the features: ``mask`` tells cloud from clear sky, ``micro`` gives log(1 + COT) and effective radius
together, learnt from cloudy pixels. A tree depends on the training table and its own seed only, so which worker grows
it, and with how many others, cannot be seen in the result. Trees are merged in the order of their seeds, and
predictions are summed in that order by one thread: the same bits come out of one machine and of many.

Randomised trees rather than bagged ones: on the scene this was tried on they were as good or better (README) and three
times as fast, because a split is drawn, not searched for. Every feature is offered at each split: with most of them
neighbours of one another, offering a share of them cost accuracy.

scikit-learn is imported by the functions that use it: the scheduler, which only passes tasks on, does without.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Predictions = NDArray[np.float32]
Target = Literal["mask", "micro"]
TARGETS: tuple[Target, ...] = ("mask", "micro")
# Leaves of one pixel would learn the noise of single pixels; a vote tolerates smaller leaves than a mean does.
MIN_SAMPLES_LEAF = {"mask": 2, "micro": 3}


@dataclass(frozen=True)
class ForestSettings:
    """How to grow each forest: number of trees, largest depth, seed."""

    trees: int
    depth: int
    seed: int

    def seeds(self, target: Target) -> list[int]:
        """One seed per tree; the first n are the same whatever the number of trees."""
        root = np.random.SeedSequence([self.seed, TARGETS.index(target)])
        return [int(child.generate_state(1)[0]) for child in root.spawn(self.trees)]


@dataclass(frozen=True)
class TrainingTable:
    """Training rows: features; cloudy or not; and where cloudy (with CER known) log(1 + COT) and CER over ``scale``."""

    features: NDArray[np.float32]
    cloudy: NDArray[np.bool_]
    micro: NDArray[np.float64]
    micro_rows: NDArray[np.intp]
    scale: tuple[float, float]

    def inputs(self, target: Target) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features and targets of one forest."""
        if target == "mask":
            return self.features, self.cloudy
        return self.features[self.micro_rows], self.micro


@dataclass(frozen=True)
class Model:
    """Both forests, and what one unit of each ``micro`` output means in log(1 + COT) and um."""

    mask: Any
    micro: Any
    scale: tuple[float, float]


def build_table(features: NDArray[np.float32], cot: NDArray[np.float64], cer: NDArray[np.float64]) -> TrainingTable:
    """The training table from features, COT and CER of the same pixels (NaN where clear).

    Both micro targets are divided by their spread, so that each weighs alike in the choice of a split.
    """
    cloudy = np.isfinite(cot)
    rows = np.flatnonzero(cloudy & np.isfinite(cer))
    targets = np.column_stack([np.log1p(cot[rows]), cer[rows]])
    spread = targets.std(axis=0) if len(rows) else np.ones(2)
    scale = np.where(spread > 0.0, spread, 1.0)
    return TrainingTable(features, cloudy, targets / scale, rows, (float(scale[0]), float(scale[1])))


def fit_trees(table: TrainingTable, target: Target, recipe: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """One forest of a single tree per seed."""
    features, targets = table.inputs(target)
    return [seed_tree(target, recipe, seed).fit(features, targets) for seed in seeds]


def seed_tree(target: Target, recipe: ForestSettings, seed: int) -> Any:
    """A forest of one tree, not grown yet."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesClassifier if target == "mask" else ExtraTreesRegressor
    return kind(
        n_estimators=1,
        max_depth=recipe.depth or None,
        min_samples_leaf=MIN_SAMPLES_LEAF[target],
        max_features=1.0,
        n_jobs=1,
        random_state=seed,
    )


def merge_forests(forests: Sequence[Any]) -> Any:
    """One forest of all trees, in the order given; public attributes only."""
    whole = forests[0]
    whole.estimators_ = [tree for forest in forests for tree in forest.estimators_]
    whole.n_estimators = len(whole.estimators_)
    return whole


def predict(model: Model, features: NDArray[np.float32]) -> tuple[Predictions, Predictions, Predictions]:
    """Probability of cloud, and COT (1) and CER (um) if there is one, for each line of features."""
    probability = model.mask.predict_proba(features)[:, 1]
    log_cot, cer = (model.micro.predict(features) * np.asarray(model.scale)).T
    return probability.astype(np.float32), np.expm1(log_cot).astype(np.float32), cer.astype(np.float32)


def digest(model: Model) -> str:
    """SHA-256 over the structure and values of every tree, in order, and the scale."""
    return forests_digest((model.mask, model.micro), np.asarray(model.scale, dtype="<f8").tobytes())


def forests_digest(forests: Sequence[Any], start: bytes) -> str:
    """SHA-256 over the structure and values of every tree of some forests, in order, after some bytes."""
    total = hashlib.sha256(start)
    for forest in forests:
        for estimator in forest.estimators_:
            tree = estimator.tree_
            for part in (tree.children_left, tree.children_right, tree.feature, tree.threshold, tree.value):
                total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()


def node_count(model: Model) -> int:
    """Nodes of all trees together, a measure of the model's size (about 100 bytes each)."""
    return count_nodes((model.mask, model.micro))


def count_nodes(forests: Sequence[Any]) -> int:
    """Nodes of all trees of some forests."""
    return sum(int(tree.tree_.node_count) for forest in forests for tree in forest.estimators_)
