"""The training table and the forests: bootstrapped random forests (Breiman 2001), each tree with a seed of its own.

Two forests share the features: ``phase`` tells clear, water, ice and mixed columns apart (the cloud mask is one minus
its probability of clear, so the two cannot contradict each other), ``top`` gives the height of the highest cloud top
from columns that have one.

As in the package retrieval a tree depends on the table and on its own seed only, and trees are merged and summed in the
order of their seeds: the same bits come out of one machine and of many. Trees are grown and asked one by one, without
scikit-learn's forest around them: that one runs each call through joblib, which swaps the process's warning filters,
and tasks of one worker are threads of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from retrieval import forest

from granules.caliop import CLASSES, CLEAR, CLOUDY

Target = Literal["phase", "top"]
TARGETS: tuple[Target, ...] = ("phase", "top")
MIN_SAMPLES_LEAF = {"phase": 2, "top": 3}
# The usual shares of features offered at a split: root of their number, and a third.
MAX_FEATURES: dict[str, Any] = {"phase": "sqrt", "top": 1 / 3}


@dataclass(frozen=True)
class ForestSettings:
    """How to grow a model: trees of each forest, largest depth (0: no limit), seed."""

    trees: int
    depth: int
    seed: int

    def seeds(self, target: Target, fold: int) -> list[int]:
        """One seed per tree; the first n are the same whatever the number of trees."""
        root = np.random.SeedSequence([self.seed, TARGETS.index(target), fold])
        return [int(child.generate_state(1)[0]) for child in root.spawn(self.trees)]


@dataclass(frozen=True)
class ColumnRows:
    """Matched pixels of one granule: features, class of the column (see caliop), highest top (km, NaN where clear)."""

    features: NDArray[np.float32]
    column_class: NDArray[np.int8]
    top_km: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.column_class)


@dataclass(frozen=True)
class Forest:
    """Trees in the order of their seeds."""

    estimators_: tuple[Any, ...]

    def mean(self, ask: Callable[[Any], NDArray[Any]]) -> NDArray[np.float64]:
        """The mean of what the trees answer, summed in their order."""
        total = ask(self.estimators_[0]).astype(np.float64)
        for tree in self.estimators_[1:]:
            total += ask(tree)
        return np.asarray(total / len(self.estimators_))


@dataclass(frozen=True)
class CloudModel:
    """Both forests."""

    phase: Forest
    top: Forest

    @property
    def forests(self) -> tuple[Forest, Forest]:
        """Both, in order."""
        return self.phase, self.top


@dataclass(frozen=True)
class Prediction:
    """What a model says of some pixels: probability of each class (pixels, 4) and height of the top (km), if cloudy."""

    probabilities: NDArray[np.float32]
    top_km: NDArray[np.float32]

    @property
    def cloud_probability(self) -> NDArray[np.float32]:
        """Probability of cloud."""
        return np.asarray(1.0 - self.probabilities[:, CLEAR], np.float32)

    @property
    def column_class(self) -> NDArray[np.int8]:
        """The class: clear if cloud is less likely than not, else the likeliest of the three phases."""
        cloudy = 1 + self.probabilities[:, 1:].argmax(axis=1)
        return np.where(self.cloud_probability >= 0.5, cloudy, CLEAR).astype(np.int8)


def concatenate(parts: Sequence[ColumnRows]) -> ColumnRows:
    """Rows of several granules, in order."""
    columns = [
        np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "column_class", "top_km")
    ]
    return ColumnRows(columns[0], columns[1], columns[2])


def training_inputs(rows: ColumnRows, target: Target) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features and targets of one forest: columns of known phase; columns with a cloud top."""
    if target == "phase":
        used = rows.column_class < CLOUDY
        return rows.features[used], rows.column_class[used]
    used = (rows.column_class > CLEAR) & (rows.column_class <= CLOUDY) & np.isfinite(rows.top_km)
    return rows.features[used], rows.top_km[used].astype(np.float64)


def fit_trees(rows: ColumnRows, target: Target, recipe: ForestSettings, seeds: Sequence[int]) -> list[Any]:
    """A tree per seed, each from rows drawn anew with replacement: as weights, how often each was drawn."""
    features, targets = training_inputs(rows, target)
    grown = []
    for seed in seeds:
        drawn = np.random.default_rng(seed).integers(0, len(targets), len(targets))
        weights = np.bincount(drawn, minlength=len(targets)).astype(np.float64)
        grown.append(seed_tree(target, recipe, seed).fit(features, targets, sample_weight=weights))
    return grown


def seed_tree(target: Target, recipe: ForestSettings, seed: int) -> Any:
    """A tree, not grown yet."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if target == "phase" else DecisionTreeRegressor
    return kind(
        max_depth=recipe.depth or None,
        min_samples_leaf=MIN_SAMPLES_LEAF[target],
        max_features=MAX_FEATURES[target],
        random_state=seed,
    )


def merge_groups(groups: Mapping[str, Sequence[list[Any]]]) -> CloudModel:
    """The model, from groups of trees in the order of their seeds."""
    whole = [Forest(tuple(tree for group in groups[target] for tree in group)) for target in TARGETS]
    return CloudModel(whole[0], whole[1])


def predict(model: CloudModel, features: NDArray[np.float32], *, tops: bool = True) -> Prediction:
    """What a model says of lines of features; a class that it has never met has no chance.

    :param tops: heights of all lines; else of those told cloudy, NaN for the others.
    """
    table = np.ascontiguousarray(features, np.float32)
    chances = np.zeros((len(table), len(CLASSES)), np.float32)
    # Our own table is single precision and may hold NaN: checking it again for each tree would take half of the time.
    phases = model.phase.mean(lambda tree: tree.predict_proba(table, check_input=False))
    chances[:, model.phase.estimators_[0].classes_] = phases
    heights = np.full(len(table), np.nan, np.float32)
    wanted = np.flatnonzero((1.0 - chances[:, CLEAR] >= 0.5) | tops)
    if len(wanted):
        part = table if len(wanted) == len(table) else table[wanted]
        heights[wanted] = model.top.mean(lambda tree: tree.predict(part, check_input=False))
    return Prediction(chances, heights)


def digest(model: CloudModel) -> str:
    """SHA-256 over the structure and values of every tree, in order."""
    return forest.forests_digest(model.forests, b"")


def node_count(model: CloudModel) -> int:
    """Nodes of all trees together (about 100 bytes each)."""
    return forest.count_nodes(model.forests)
