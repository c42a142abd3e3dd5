"""The forests: extremely randomized trees (Geurts et al. 2006), each tree with its own seed.

Two forests share the features: ``mask`` separates cloud from clear sky, ``micro`` estimates log(1 + COT) and effective
radius jointly and is trained on cloudy pixels. A tree depends on the training table and its own seed only, so the
result does not depend on the worker that trains it, nor on the grouping of trees. Trees are merged in the order of
their seeds, and predictions are summed in that order by one thread: one machine and many produce the same bits.

Extremely randomized trees were chosen over bagging: on the scene of the README they were at least as accurate and three
times as fast, because split thresholds are drawn rather than searched for. Every feature is offered at each split: most
features are neighbors of one another, and offering a subset reduced accuracy.

scikit-learn is imported inside the functions that use it, because the scheduler does not need it.
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
# Leaves of a single pixel would fit noise; the vote of the classifier tolerates smaller leaves than the mean of the
# regressor.
MIN_SAMPLES_LEAF = {"mask": 2, "micro": 3}


@dataclass(frozen=True)
class ForestSettings:
    """Number of trees per forest, maximum depth (0: no limit), seed."""

    trees: int
    depth: int
    seed: int

    def seeds(self, target: Target) -> list[int]:
        """Return one seed per tree; the first n do not depend on the number of trees."""
        root = np.random.SeedSequence([self.seed, TARGETS.index(target)])
        return [int(child.generate_state(1)[0]) for child in root.spawn(self.trees)]


@dataclass(frozen=True)
class TrainingTable:
    """Training rows: features; cloudy or not; and, where cloudy with known CER, log(1 + COT) and CER divided by
    ``scale``.
    """

    features: NDArray[np.float32]
    cloudy: NDArray[np.bool_]
    micro: NDArray[np.float64]
    micro_rows: NDArray[np.intp]
    scale: tuple[float, float]

    def inputs(self, target: Target) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return features and targets of one forest."""
        if target == "mask":
            return self.features, self.cloudy
        return self.features[self.micro_rows], self.micro


@dataclass(frozen=True)
class Model:
    """Both forests, and the unit of each ``micro`` output in log(1 + COT) and um."""

    mask: Any
    micro: Any
    scale: tuple[float, float]


def build_table(features: NDArray[np.float32], cot: NDArray[np.float64], cer: NDArray[np.float64]) -> TrainingTable:
    """Build the training table from features, COT and CER of the same pixels (NaN where clear).

    Both micro targets are divided by their standard deviation, so that they have equal weight in the choice of a split.
    """
    cloudy = np.isfinite(cot)
    rows = np.flatnonzero(cloudy & np.isfinite(cer))
    # The logarithm: COT spans three decades, and its relative error is what matters.
    targets = np.column_stack([np.log1p(cot[rows]), cer[rows]])
    spread = targets.std(axis=0) if len(rows) else np.ones(2)
    scale = np.where(spread > 0.0, spread, 1.0)
    return TrainingTable(features, cloudy, targets / scale, rows, (float(scale[0]), float(scale[1])))


def fit_trees(table: TrainingTable, target: Target, settings: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """Train one forest of a single tree per seed."""
    features, targets = table.inputs(target)
    return [seed_tree(target, settings, seed).fit(features, targets) for seed in seeds]


def seed_tree(target: Target, settings: ForestSettings, seed: int) -> Any:
    """Return an untrained forest of one tree."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    estimator = ExtraTreesClassifier if target == "mask" else ExtraTreesRegressor
    return estimator(
        n_estimators=1,
        max_depth=settings.depth or None,
        min_samples_leaf=MIN_SAMPLES_LEAF[target],
        # See the module's docstring.
        max_features=1.0,
        n_jobs=1,
        random_state=seed,
    )


def merge_forests(forests: Sequence[Any]) -> Any:
    """Merge forests into one, trees in the given order; uses public attributes of scikit-learn only."""
    merged = forests[0]
    merged.estimators_ = [tree for forest in forests for tree in forest.estimators_]
    merged.n_estimators = len(merged.estimators_)
    return merged


def predict(model: Model, features: NDArray[np.float32]) -> tuple[Predictions, Predictions, Predictions]:
    """Return probability of cloud, COT (1) and CER (um) under the assumption of cloud, for each line of features."""
    probability = model.mask.predict_proba(features)[:, 1]
    log_cot, cer = (model.micro.predict(features) * np.asarray(model.scale)).T
    return probability.astype(np.float32), np.expm1(log_cot).astype(np.float32), cer.astype(np.float32)


def digest(model: Model) -> str:
    """Return the SHA-256 of the structure and values of every tree, in order, and of the scale."""
    return forests_digest((model.mask, model.micro), np.asarray(model.scale, dtype="<f8").tobytes())


def forests_digest(forests: Sequence[Any], start: bytes) -> str:
    """Return the SHA-256 of ``start`` and of the structure and values of every tree of some forests, in order."""
    total = hashlib.sha256(start)
    for forest in forests:
        for estimator in forest.estimators_:
            tree = estimator.tree_
            for part in (tree.children_left, tree.children_right, tree.feature, tree.threshold, tree.value):
                total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()


def node_count(model: Model) -> int:
    """Return the number of nodes of all trees, a measure of the model's size (about 100 bytes each)."""
    return count_nodes((model.mask, model.micro))


def count_nodes(forests: Sequence[Any]) -> int:
    """Return the number of nodes of all trees of some forests."""
    return sum(int(tree.tree_.node_count) for forest in forests for tree in forest.estimators_)
