"""Requests of tuning jobs: ranges of hyper-parameters, objective, limits, and their rules.

https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-define-ranges.html
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from orchestrator.aws.sagemaker.training_request import TrainingRequest
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep

STRATEGIES = ("Bayesian", "Random", "Grid", "Hyperband")
SCALINGS = {"": "Auto", "log": "Logarithmic", "linear": "Linear", "reverse-log": "ReverseLogarithmic"}
_TYPED = {name: typed for typed, name in SCALINGS.items()}
MAX_NAME = 32
EPOCHS = ("epochs", "num_epochs", "n_epochs", "numepochs", "n-epochs")
MAX_EPOCHS = 20_000
RANGES, OBJECTIVE = "lr=0.001:0.1:log layers=1:4 optimizer=adam,sgd", "minimize loss"
PARALLEL, JOBS = 4, 20
"""Training jobs, and of them at the same time, unless they are given."""

Again: TypeAlias = Callable[..., NextStep]


def example(**changed: object) -> NextStep:
    """Return a call of the verb."""
    return NextStep("Tune", "JOB", **{"ranges": RANGES, "objective": OBJECTIVE, **changed})


@dataclass(frozen=True)
class TuningRange:
    """Values that a hyper-parameter may have.

    :param values: of a categorical one; empty for numbers.
    :param bounds: lowest and highest number, as they were written.
    :param scaling: as the API names it.
    :param is_decimal: True for decimals between whole bounds.
    """

    name: str
    values: tuple[str, ...] = ()
    bounds: tuple[str, str] = ("", "")
    scaling: str = "Auto"
    is_decimal: bool = False

    @property
    def kind(self) -> str:
        """``Categorical``, ``Integer`` or ``Continuous``."""
        if self.values:
            return "Categorical"
        return "Integer" if not self.is_decimal and all(map(is_integer, self.bounds)) else "Continuous"

    @property
    def as_text(self) -> str:
        """The range as it may be typed: ``1:4``, ``0.1:1:log``, ``a,b``."""
        if self.values:
            return ",".join(self.values) + "," * (len(self.values) == 1)
        return ":".join([*self.bounds, *([_TYPED[self.scaling]] if self.scaling != "Auto" else [])])

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

    def check(self, again: Again = example) -> None:
        """Check the rules that SageMaker's service model does not state.

        :param again: returns the verb as it was typed, with other arguments.
        :raises UsageError: one is broken.
        """
        names = [item.name for item in self.ranges]
        metrics = ", ".join(self.training.metrics) or "none"
        metric = next(iter(self.training.metrics), self.metric)
        measured: dict[str, object] = {"objective": f"{self.goal.lower()} {metric}"}
        # Rule -> whether it is broken, and what to type instead.
        rules: dict[str, tuple[bool, dict[str, object]]] = {
            f"the name {self.name} has more than {MAX_NAME} characters": (len(self.name) > MAX_NAME, {}),
            "there are no ranges: nothing would vary": (not names, {"ranges": RANGES}),
            f"{', '.join(names)}: each needs one range": (len(set(names)) < len(names), {"ranges": RANGES}),
            f"strategy = {self.strategy} is none of {', '.join(STRATEGIES)}": (
                self.strategy not in STRATEGIES,
                {"strategy": STRATEGIES[0]},
            ),
            f"the objective {self.metric!r} is not in [metrics] of job.ini, which has {metrics}": (
                self.metric not in self.training.metrics,
                measured,
            ),
            "strategy = Grid varies lists of values only, and not: " + ", ".join(self._numbers): (
                self.strategy == "Grid" and bool(self._numbers),
                {"strategy": STRATEGIES[0]},
            ),
            f"a grid has {self.combinations} combinations: leave out jobs": (
                self.strategy == "Grid" and self.jobs not in (0, self.combinations),
                {"jobs": self.combinations},
            ),
            f"jobs = {self.jobs}: at least 1 is needed": (self.strategy != "Grid" and self.jobs < 1, {"jobs": JOBS}),
            f"parallel = {self.parallel} is more than jobs = {self.count}": (
                self.parallel > self.count,
                {"parallel": self.count},
            ),
            "strategy = Hyperband ends jobs after some of their epochs: epochs = 2 or more in [hyperparameters]": (
                self.strategy == "Hyperband" and self._epochs < 2,
                {"strategy": STRATEGIES[0]},
            ),
        }
        for rule, (is_broken, instead) in rules.items():
            if is_broken:
                raise UsageError(rule, where="Tune", fix=again(**instead))

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
        return next((int(fixed[name]) for name in EPOCHS if is_integer(fixed.get(name, ""))), 0)

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


def read_ranges(ranges: str | Mapping[str, object], again: Again = example) -> list[TuningRange]:
    """Return the ranges of ``lr=0.001:0.1:log layers=1:4 optimizer=adam,sgd``, or of a dictionary.

    :param ranges: in a dictionary, two numbers are bounds, with ``"log"`` as third element; a list is of values.
    :param again: returns the verb as it was typed, with other arguments.
    :raises UsageError: one is no range.
    """
    try:
        if isinstance(ranges, str):
            pairs = [word.partition("=") for word in ranges.split()]
            return [_read(name, text) for name, _, text in pairs]
        if not isinstance(ranges, Mapping):
            raise UsageError(f"ranges = {ranges!r} is neither a text nor a dictionary")
        return [_read(str(name), _text(value)) for name, value in ranges.items()]
    except UsageError as error:
        error.fix = again(ranges=RANGES)
        raise


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
        raise UsageError(f"{name}={text} is not a range: two bounds, 1:4, or values, 16,32")
    if scaling not in SCALINGS:
        raise UsageError(f"{name}={text}: scaling {scaling} is none of log, linear, reverse-log")
    _check_bounds(name, float(low), float(high), scaling)
    return TuningRange(name, bounds=(low, high), scaling=SCALINGS[scaling])


def _check_bounds(name: str, low: float, high: float, scaling: str) -> None:
    if low >= high:
        raise UsageError(f"{name}: {low:g} is not below {high:g}")
    if scaling == "log" and low <= 0:
        raise UsageError(f"{name}: a range with log begins above 0")
    if scaling == "reverse-log" and not 0 <= low < high < 1:
        raise UsageError(f"{name}: a range with reverse-log is from 0 to below 1")


def check_names(ranges: Sequence[TuningRange], own: Mapping[str, str], again: Again = example) -> None:
    """Check that a job knows the hyper-parameters that are tuned, if it names its own.

    :param own: name -> value of the job's own.
    :raises UsageError: one is not among them.
    """
    unknown = [item.name for item in ranges if item.name not in own] if own else []
    if unknown:
        near = difflib.get_close_matches(unknown[0], own, n=1)
        suggestion = f" Did you mean {near[0]}?" if near else f" It has {', '.join(own)}."
        corrected = {near[0] if near and item.name == unknown[0] else item.name: item.as_text for item in ranges}
        fix = again(ranges=" ".join(f"{name}={text}" for name, text in corrected.items()))
        raise UsageError(
            f"{unknown[0]} is not in [hyperparameters] of job.ini.{suggestion}",
            where="Tune",
            fix=fix if near else f"add {unknown[0]} = VALUE to [hyperparameters] if its commands have this option",
        )


def read_objective(objective: str, again: Again = example) -> tuple[str, str]:
    """Return goal and metric of ``minimize loss``.

    :param again: returns the verb as it was typed, with other arguments.
    :raises UsageError: it is no objective.
    """
    goal, _, metric = objective.strip().partition(" ")
    if goal.lower() not in ("minimize", "maximize") or not metric.strip():
        problem = f"objective = {objective!r}: minimize or maximize, and the name of a metric"
        raise UsageError(problem, fix=again(objective=OBJECTIVE))
    return goal.capitalize(), metric.strip()


def is_decimal(text: str) -> bool:
    """Return True for the text of a number with decimals: ``2.0``, ``1e-3``."""
    return _is_number(text) and not is_integer(text)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def is_integer(text: str) -> bool:
    """Return True for the text of a whole number."""
    return text.lstrip("-").isdecimal()
