"""Members: one boosted model per target, tile group and seed (histogram gradient boosting; Ke et al. 2017).

Targets are the cloud mask, log(1 + COT) and effective radius. Each member leaves out one group of tiles (see
train_test_split), so that every training pixel has predictions by members that have not seen its tile. The second stage
and the uncertainties are trained on those. The retrieval of any other pixel is the mean over all members.

A member depends on the training table and its own specification only, and means are summed in the order of the
specifications by one thread: one machine and many produce the same bits.

scikit-learn is imported inside the functions that use it, because the scheduler does not need it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Target = Literal["mask", "cot", "cer"]
# The mask first: its members have the most rows, and long tasks at the end would leave workers idle.
TARGETS: tuple[Target, ...] = ("mask", "cot", "cer")
Values = NDArray[np.float64]
# Chosen by cross-validation on the scene of the README. Leaves of fewer pixels fit noise; a third of the features
# offered at each split makes members differ by their seeds; 255 bins cost twice the time of 64 and gain nothing.
HYPERPARAMETERS: dict[str, Any] = {
    "max_bins": 64,
    "min_samples_leaf": 60,
    "l2_regularization": 5.0,
    "max_features": 0.3,
    # It would judge by random pixels, which are neighbors of training pixels.
    "early_stopping": False,
}
# By number of stages. In the last of two stages the mask takes more iterations: fewer leave probabilities too moderate.
PRESETS: dict[int, dict[str, Any]] = {
    1: {"max_iter": 40, "learning_rate": 0.15, "max_leaf_nodes": 15},
    2: {"max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 31},
}
LAST_MASK_ITERATIONS = 100
# The baseline that sees the pixel alone, in place of a stage: it leaves out no tile group, since nothing is trained on
# its predictions. Its few features are all offered at each split.
PIXEL_ALONE, NO_GROUP = -1, -1
PIXEL_ALONE_PRESET: dict[str, Any] = PRESETS[1] | {"max_features": 1.0}
# A tree reads all rows before the next tree does; rows that stay in the processor's cache take half the time.
ROWS_IN_CACHE = 1024


@dataclass(frozen=True)
class BoostingSettings:
    """Number of stages (1 or 2), members per target and tile group in each stage, seed."""

    stages: int
    members: tuple[int, ...]
    seed: int

    def specs(self, stage: int, groups: Sequence[int]) -> list[MemberSpec]:
        """Return the members of a stage, in the order in which their predictions are summed."""
        pairs = [(number, group) for number in range(self.members[stage]) for group in groups]
        return [
            MemberSpec(target, stage, group, self.member_seed(target, stage, group, number))
            for target in TARGETS
            for number, group in pairs
        ]

    def alone_specs(self) -> list[MemberSpec]:
        """Return the members of the baseline that sees the pixel alone, one per target."""
        return [MemberSpec(target, PIXEL_ALONE, NO_GROUP, self.seed) for target in TARGETS]

    def hyperparameters(self, spec: MemberSpec) -> dict[str, Any]:
        """Return the hyperparameters of one member."""
        if spec.stage == PIXEL_ALONE:
            return HYPERPARAMETERS | PIXEL_ALONE_PRESET
        chosen = HYPERPARAMETERS | PRESETS[self.stages]
        return chosen | ({"max_iter": LAST_MASK_ITERATIONS} if (spec.target, spec.stage) == ("mask", 1) else {})

    def member_seed(self, target: Target, stage: int, group: int, number: int) -> int:
        """Return the seed of one member."""
        root = np.random.SeedSequence([self.seed, TARGETS.index(target), stage, group, number])
        return int(root.generate_state(1)[0])


@dataclass(frozen=True)
class MemberSpec:
    """Target, stage (0, 1 or PIXEL_ALONE) and seed of a member, and the tile group that it leaves out."""

    target: Target
    stage: int
    group: int
    seed: int


@dataclass(frozen=True)
class BoostingTable:
    """Training rows: features, COT and CER (NaN where clear or unknown) and tile group of each."""

    features: NDArray[np.float32]
    cot: Values
    cer: Values
    groups: NDArray[np.int8]

    @property
    def cloudy(self) -> NDArray[np.bool_]:
        """Cloudy rows."""
        return np.isfinite(self.cot)

    def target_values(self, target: Target) -> Values:
        """Return the values that members of a target learn; NaN where there is none."""
        if target == "mask":
            return self.cloudy.astype(np.float64)
        # The logarithm: COT spans three decades, and its relative error is what matters.
        return np.log1p(self.cot) if target == "cot" else np.where(self.cloudy, self.cer, np.nan)

    def rows(self, spec: MemberSpec) -> NDArray[np.intp]:
        """Return the rows that a member is trained on.

        Where nothing usable is left without the group (one cloud in one tile, for example), the group stays.
        """
        values = self.target_values(spec.target)
        known = np.isfinite(values)
        kept_rows = known & (self.groups != spec.group)
        needed = 2 if spec.target == "mask" else 1
        usable = len(np.unique(values[kept_rows])[:2]) >= needed
        return np.flatnonzero(kept_rows if usable else known)


@dataclass(frozen=True)
class Member:
    """A trained member."""

    spec: MemberSpec
    estimator: Any

    def predict(self, features: Values) -> Values:
        """Return probability of cloud, log(1 + COT) or CER (um)."""
        if self.spec.target == "mask":
            return np.asarray(self.estimator.predict_proba(features)[:, 1])
        return np.asarray(self.estimator.predict(features))


@dataclass(frozen=True)
class Stage:
    """Members of one stage, in order."""

    members: tuple[Member, ...]

    def predict(self, features: NDArray[np.float32], group: int | None = None) -> Values:
        """Return a column per target: the mean over all members, or over those that have not seen a tile group."""
        import sklearn

        starts = range(0, len(features), ROWS_IN_CACHE)
        # The features are finite; looking for other values took a tenth of the time.
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            blocks = [self.predict_rows(features[start : start + ROWS_IN_CACHE], group) for start in starts]
        return np.concatenate(blocks) if blocks else np.empty((0, len(TARGETS)))

    def predict_rows(self, features: NDArray[np.float32], group: int | None) -> Values:
        """Return the columns of a few rows."""
        # Once for all members: scikit-learn would convert single precision for each of them.
        rows = features.astype(np.float64)
        return np.column_stack([self.mean(target, rows, group) for target in TARGETS])

    def mean(self, target: Target, features: Values, group: int | None) -> Values:
        """Return the mean prediction of one target."""
        total, count = np.zeros(len(features)), 0
        for member in self.members:
            if member.spec.target == target and group in (None, member.spec.group):
                # In a fixed order: floating-point sums depend on it.
                total += member.predict(features)
                count += 1
        return total / count


def fit_member(table: BoostingTable, spec: MemberSpec, settings: BoostingSettings) -> Member:
    """Train one member."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    rows = table.rows(spec)
    values = table.target_values(spec.target)[rows]
    estimator = HistGradientBoostingClassifier if spec.target == "mask" else HistGradientBoostingRegressor
    model = estimator(random_state=spec.seed, **settings.hyperparameters(spec))
    return Member(spec, model.fit(table.features[rows], values))


def held_out_predictions(stage: Stage, table: BoostingTable, group: int) -> Values:
    """Return predictions for the training rows of a tile group by the members that have not seen it."""
    return stage.predict(table.features[table.groups == group], group)


def merge_held_out(table: BoostingTable, parts: Mapping[int, Values]) -> Values:
    """Return predictions for all training rows from those of each tile group."""
    predictions = np.empty((len(table.cot), len(TARGETS)))
    for group, part in parts.items():
        predictions[table.groups == group] = part
    return predictions


def estimators_digest(estimators: Iterable[Any], start: bytes = b"") -> str:
    """Return the SHA-256 of ``start`` and of the nodes of every tree of boosted estimators, in order."""
    total = hashlib.sha256(start)
    for predictor in iter_predictors(estimators):
        nodes = predictor.nodes
        # By field: structured records have padding bytes of any content.
        for name in nodes.dtype.names:
            total.update(np.ascontiguousarray(nodes[name]).tobytes())
    return total.hexdigest()


def count_nodes(estimators: Iterable[Any]) -> int:
    """Return the number of nodes of all trees."""
    return sum(len(predictor.nodes) for predictor in iter_predictors(estimators))


def iter_predictors(estimators: Iterable[Any]) -> Iterable[Any]:
    """Yield the trees of boosted estimators, in order."""
    for estimator in estimators:
        # scikit-learn has no public access to the nodes; predictions do not need this.
        for trees in estimator._predictors:
            yield from trees
