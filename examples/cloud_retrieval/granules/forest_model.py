"""Training rows and the forests: bootstrapped random forests (Breiman 2001), each tree with its own seed.

Two forests share the features: ``phase`` classifies columns as clear, water, ice or mixed (the probability of cloud is
one minus that of clear, so mask and phase cannot contradict each other); ``top`` estimates the height of the highest
cloud top and is trained on columns that have one.

As in the package retrieval, a tree depends on the training rows and on its own seed only, and trees are merged and
summed in the order of their seeds: one machine and many produce the same bits. Trees are trained and evaluated one by
one, without scikit-learn's forest classes: these run each call through joblib, which replaces the warning filters of
the process, and that is not safe in tasks that are threads of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from retrieval import forest

from granules.caliop import CLASSES, CLEAR, CLOUDY

FILE = "granule_model.pkl"
"""The model of the first fold, in the output folder; serving/granule_model.py reads it."""

Target = Literal["phase", "top"]
TARGETS: tuple[Target, ...] = ("phase", "top")
ROW_PARTS = ("features", "column_class", "top_km", "optical_depth", "snow")
MIN_SAMPLES_LEAF = {"phase": 2, "top": 3}
# The usual numbers of features per split (Breiman 2001): square root for classification, a third for regression.
MAX_FEATURES: dict[str, Any] = {"phase": "sqrt", "top": 1 / 3}


@dataclass(frozen=True)
class ForestSettings:
    """Settings of a model: trees per forest, maximum depth (0: no limit), seed."""

    trees: int
    depth: int
    seed: int

    def seeds(self, target: Target, fold: int) -> list[int]:
        """Return one seed per tree; the first n do not depend on the number of trees."""
        root = np.random.SeedSequence([self.seed, TARGETS.index(target), fold])
        return [int(child.generate_state(1)[0]) for child in root.spawn(self.trees)]


@dataclass(frozen=True)
class ColumnRows:
    """Matched pixels of one granule: features, class of the column (see caliop), highest top (km, NaN where clear).

    For the evaluation only: optical depth of the clouds (NaN: unknown), snow or ice below (1; 0: none; -1: unknown).
    """

    features: NDArray[np.float32]
    column_class: NDArray[np.int8]
    top_km: NDArray[np.float32]
    optical_depth: NDArray[np.float32]
    snow: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.column_class)

    def select(self, mask: NDArray[np.bool_]) -> ColumnRows:
        """Return some of the rows."""
        return ColumnRows(*(getattr(self, name)[mask] for name in ROW_PARTS))


@dataclass(frozen=True)
class Forest:
    """Trees in the order of their seeds."""

    estimators_: tuple[Any, ...]

    def mean(self, evaluate: Callable[[Any], NDArray[Any]]) -> NDArray[np.float64]:
        """Return the mean of ``evaluate`` over all trees, summed in their order."""
        total = evaluate(self.estimators_[0]).astype(np.float64)
        # In a fixed order: floating-point sums depend on it.
        for tree in self.estimators_[1:]:
            total += evaluate(tree)
        return np.asarray(total / len(self.estimators_))


@dataclass(frozen=True)
class CloudModel:
    """Both forests."""

    phase: Forest
    top: Forest

    @property
    def forests(self) -> tuple[Forest, Forest]:
        """Both forests, in order."""
        return self.phase, self.top


@dataclass(frozen=True)
class Prediction:
    """Probability of each class (pixels, 4), and top height (km) under the assumption of cloud, of some pixels."""

    probabilities: NDArray[np.float32]
    top_km: NDArray[np.float32]

    @property
    def cloud_probability(self) -> NDArray[np.float32]:
        """Probability of cloud."""
        return np.asarray(1.0 - self.probabilities[:, CLEAR], np.float32)

    @property
    def column_class(self) -> NDArray[np.int8]:
        """Return clear if the probability of cloud is below 0.5, otherwise the most probable of the three phases."""
        cloudy = 1 + self.probabilities[:, 1:].argmax(axis=1)
        return np.where(self.cloud_probability >= 0.5, cloudy, CLEAR).astype(np.int8)


def concatenate(parts: Sequence[ColumnRows]) -> ColumnRows:
    """Concatenate rows of several granules, in order."""
    return ColumnRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ROW_PARTS))


def training_inputs(rows: ColumnRows, target: Target) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features and targets of one forest: columns of known phase; columns with a cloud top."""
    if target == "phase":
        used = rows.column_class < CLOUDY
        return rows.features[used], rows.column_class[used]
    used = (rows.column_class > CLEAR) & (rows.column_class <= CLOUDY) & np.isfinite(rows.top_km)
    return rows.features[used], rows.top_km[used].astype(np.float64)


def fit_trees(rows: ColumnRows, target: Target, settings: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """Train one tree per seed on a bootstrap sample, given as the weight of each row."""
    features, targets = training_inputs(rows, target)
    trees = []
    for seed in seeds:
        drawn = np.random.default_rng(seed).integers(0, len(targets), len(targets))
        weights = np.bincount(drawn, minlength=len(targets)).astype(np.float64)
        trees.append(seed_tree(target, settings, seed).fit(features, targets, sample_weight=weights))
    return trees


def seed_tree(target: Target, settings: ForestSettings, seed: int) -> Any:
    """Return an untrained tree."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    estimator = DecisionTreeClassifier if target == "phase" else DecisionTreeRegressor
    return estimator(
        max_depth=settings.depth or None,
        min_samples_leaf=MIN_SAMPLES_LEAF[target],
        max_features=MAX_FEATURES[target],
        random_state=seed,
    )


def merge_groups(groups: Mapping[str, Sequence[list[Any]]]) -> CloudModel:
    """Merge groups of trees, in the order of their seeds, into the model."""
    forests = [Forest(tuple(tree for group in groups[target] for tree in group)) for target in TARGETS]
    return CloudModel(forests[0], forests[1])


def predict(model: CloudModel, features: NDArray[np.float32], *, tops: bool = True) -> Prediction:
    """Return predictions for lines of features; a class absent from training has probability 0.

    :param tops: top heights of all lines; otherwise of predicted clouds only, NaN for the other lines.
    """
    table = np.ascontiguousarray(features, np.float32)
    probabilities = np.zeros((len(table), len(CLASSES)), np.float32)
    # The table is known to be single precision, and NaN is allowed; checking it for each tree would double the time.
    phase_probabilities = model.phase.mean(lambda tree: tree.predict_proba(table, check_input=False))
    probabilities[:, model.phase.estimators_[0].classes_] = phase_probabilities
    heights = np.full(len(table), np.nan, np.float32)
    selected = np.flatnonzero((1.0 - probabilities[:, CLEAR] >= 0.5) | tops)
    if len(selected):
        selected_table = table if len(selected) == len(table) else table[selected]
        heights[selected] = model.top.mean(lambda tree: tree.predict(selected_table, check_input=False))
    return Prediction(probabilities, heights)


def digest(model: CloudModel) -> str:
    """Return the SHA-256 of the structure and values of every tree, in order."""
    return forest.forests_digest(model.forests, b"")


def node_count(model: CloudModel) -> int:
    """Return the number of nodes of all trees (about 100 bytes each)."""
    return forest.count_nodes(model.forests)
