"""Requests of tuning jobs: ranges of hyper-parameters, objective, limits, and their rules.

https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-define-ranges.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.aws.sagemaker.training_request import TrainingRequest
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep

STRATEGIES = ("Bayesian", "Random", "Grid", "Hyperband")
SCALINGS = {"": "Auto", "log": "Logarithmic", "linear": "Linear", "reverse-log": "ReverseLogarithmic"}
MAX_NAME = 32
EPOCHS = ("epochs", "num_epochs", "n_epochs", "numepochs", "n-epochs")
MAX_EPOCHS = 20_000
_EXAMPLE = NextStep("Tune", "JOB", ranges="lr=0.001:0.1:log layers=1:4 optimizer=adam,sgd", objective="minimize loss")


@dataclass(frozen=True)
class TuningRange:
    """Values that a hyper-parameter may have.

    :param values: of a categorical one; empty for numbers.
    :param bounds: lowest and highest number, as they were written.
    :param scaling: as the API names it.
    """

    name: str
    values: tuple[str, ...] = ()
    bounds: tuple[str, str] = ("", "")
    scaling: str = "Auto"

    @property
    def kind(self) -> str:
        """``Categorical``, ``Integer`` or ``Continuous``."""
        if self.values:
            return "Categorical"
        return "Integer" if all(_is_integer(bound) for bound in self.bounds) else "Continuous"

    @property
    def request(self) -> dict[str, Any]:
        """The range as the API names it; numbers are texts there."""
        if self.values:
            return {"Name": self.name, "Values": [*self.values]}
        low, high = self.bounds
        return {"Name": self.name, "MinValue": low, "MaxValue": high, "ScalingType": self.scaling}


@dataclass(frozen=True)
class TuningRequest:
    """A tuning job to create.

    :param training: what each of its training jobs is.
    :param metric: name of the objective.
    :param goal: ``Minimize`` or ``Maximize``.
    :param jobs: number of training jobs; 0 for all combinations of a grid.
    :param parallel: of them at the same time.
    """

    name: str
    training: TrainingRequest
    ranges: Sequence[TuningRange]
    metric: str
    goal: str
    jobs: int
    parallel: int
    strategy: str = "Bayesian"

    def check(self) -> None:
        """Check the rules that SageMaker's service model does not state.

        :raises UsageError: one is broken.
        """
        names = [item.name for item in self.ranges]
        metrics = ", ".join(self.training.metrics) or "none"
        rules = {
            f"the name {self.name} has more than {MAX_NAME} characters": len(self.name) > MAX_NAME,
            "there are no ranges: nothing would vary": not names,
            f"{', '.join(names)}: each needs one range": len(set(names)) < len(names),
            f"strategy = {self.strategy} is none of {', '.join(STRATEGIES)}": self.strategy not in STRATEGIES,
            f"the objective {self.metric!r} is not in [metrics] of job.ini, which has {metrics}": (
                self.metric not in self.training.metrics
            ),
            "strategy = Grid varies lists of values only, and not: " + ", ".join(self._numbers): (
                self.strategy == "Grid" and bool(self._numbers)
            ),
            f"a grid has {self.combinations} combinations: leave out jobs": (
                self.strategy == "Grid" and self.jobs not in (0, self.combinations)
            ),
            f"jobs = {self.jobs}: at least 1 is needed": self.strategy != "Grid" and self.jobs < 1,
            f"parallel = {self.parallel} is more than jobs = {self.count}": self.parallel > self.count,
            "strategy = Hyperband ends jobs after some of their epochs: epochs = 2 or more in [hyperparameters]": (
                self.strategy == "Hyperband" and self._epochs < 2
            ),
        }
        for rule, is_broken in rules.items():
            if is_broken:
                raise UsageError(rule, where="Tune", fix=_EXAMPLE)

    @property
    def combinations(self) -> int:
        """Number of combinations of a grid."""
        return math.prod(len(item.values) for item in self.ranges)

    @property
    def count(self) -> int:
        """Number of training jobs."""
        return self.jobs or self.combinations

    @property
    def _epochs(self) -> int:
        """Epochs of each training job, which are fixed; 0 if there is no such hyper-parameter."""
        tuned = {item.name for item in self.ranges}
        fixed = {name: value for name, value in self.training.hyperparameters.items() if name not in tuned}
        return next((int(fixed[name]) for name in EPOCHS if _is_integer(fixed.get(name, ""))), 0)

    @property
    def _numbers(self) -> list[str]:
        return [item.name for item in self.ranges if not item.values]

    def as_dict(self) -> dict[str, Any]:
        """Return the request as the API names it."""
        limits = {"MaxParallelTrainingJobs": self.parallel, "MaxNumberOfTrainingJobs": self.count}
        ranges: dict[str, list[Any]] = {"Categorical": [], "Integer": [], "Continuous": []}
        for item in self.ranges:
            ranges[item.kind].append(item.request)
        config: dict[str, Any] = {
            "Strategy": self.strategy,
            "HyperParameterTuningJobObjective": {"Type": self.goal, "MetricName": self.metric},
            "ResourceLimits": limits,
            "ParameterRanges": {f"{kind}ParameterRanges": items for kind, items in ranges.items() if items},
            # Hyperband ends jobs by itself, and excludes the other way of doing so.
            "TrainingJobEarlyStoppingType": "Off",
        }
        if self.strategy == "Hyperband":
            # Otherwise SageMaker guesses the most epochs, and refuses the request if it cannot.
            config["StrategyConfig"] = {
                "HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": min(self._epochs, MAX_EPOCHS)}
            }
        return {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinition": self._definition,
            "Tags": [dict(tag) for tag in self.training.tags],
        }

    @property
    def _definition(self) -> dict[str, Any]:
        definition = self.training.as_dict()
        tuned = {item.name for item in self.ranges}
        # Tuning takes no command: the image's own `train` runs the channel's script.
        algorithm = {
            key: value for key, value in definition["AlgorithmSpecification"].items() if key != "ContainerEntrypoint"
        }
        static = {name: value for name, value in definition["HyperParameters"].items() if name not in tuned}
        left_out = ("TrainingJobName", "HyperParameters", "Tags", "AlgorithmSpecification")
        kept_fields = {key: value for key, value in definition.items() if key not in left_out}
        return {**kept_fields, "AlgorithmSpecification": algorithm, "StaticHyperParameters": static}


def read_ranges(ranges: str | Mapping[str, object]) -> list[TuningRange]:
    """Return the ranges of ``lr=0.001:0.1:log layers=1:4 optimizer=adam,sgd``, or of a dictionary.

    :param ranges: in a dictionary, two numbers are bounds, with ``"log"`` as third element; a list is of values.
    :raises UsageError: one is no range.
    """
    if isinstance(ranges, str):
        pairs = [word.partition("=") for word in ranges.split()]
        return [_read(name, text) for name, _, text in pairs]
    if not isinstance(ranges, Mapping):
        raise UsageError(f"ranges = {ranges!r} is neither a text nor a dictionary", fix=_EXAMPLE)
    return [_read(str(name), _text(value)) for name, value in ranges.items()]


def first_values(ranges: Sequence[TuningRange]) -> dict[str, str]:
    """Return a value of each hyper-parameter, with which the command is planned."""
    return {item.name: (item.values or item.bounds)[0] for item in ranges}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) + ("," if len(value) == 1 else "")
    return ":".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(name: str, text: str) -> TuningRange:
    if "," in text:
        return TuningRange(name, values=tuple(value.strip() for value in text.split(",") if value.strip()))
    low, _, rest = text.partition(":")
    high, _, scaling = rest.partition(":")
    if not (name and _is_number(low) and _is_number(high)):
        raise UsageError(f"{name}={text} is not a range: two bounds, 1:4, or values, 16,32", fix=_EXAMPLE)
    if scaling not in SCALINGS:
        raise UsageError(f"{name}={text}: scaling {scaling} is none of log, linear, reverse-log", fix=_EXAMPLE)
    _check_bounds(name, float(low), float(high), scaling)
    return TuningRange(name, bounds=(low, high), scaling=SCALINGS[scaling])


def _check_bounds(name: str, low: float, high: float, scaling: str) -> None:
    if low >= high:
        raise UsageError(f"{name}: {low:g} is not below {high:g}", fix=_EXAMPLE)
    if scaling == "log" and low <= 0:
        raise UsageError(f"{name}: a range with log begins above 0", fix=_EXAMPLE)
    if scaling == "reverse-log" and not 0 <= low < high < 1:
        raise UsageError(f"{name}: a range with reverse-log is from 0 to below 1", fix=_EXAMPLE)


def read_objective(objective: str) -> tuple[str, str]:
    """Return goal and metric of ``minimize loss``.

    :raises UsageError: it is no objective.
    """
    goal, _, metric = objective.strip().partition(" ")
    if goal.lower() not in ("minimize", "maximize") or not metric.strip():
        raise UsageError(f"objective = {objective!r}: minimize or maximize, and the name of a metric", fix=_EXAMPLE)
    return goal.capitalize(), metric.strip()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_integer(text: str) -> bool:
    return text.lstrip("-").isdecimal()
