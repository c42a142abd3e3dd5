"""Options of a job for SageMaker, and its hyper-parameters, which apply everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.config import schema
from orchestrator.config.schema import SettingsReader, choice, command, option, text, text_lines

HYPERPARAMETERS, METRICS, TRAINING = "hyperparameters", "metrics", "training"
VARIABLE = "STRATUS_HYPERPARAMETERS"
"""Variable with all hyper-parameters as options: ``--lr 0.1 --epochs 3``."""

PREDICTOR = "predict.py"
"""Serves a model; a file in the job's folder."""

MAX_VALUE_CHARS = 256
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,255}")
# The shell splits the variable at blanks, and reads no quotes in it.
_VALUE = re.compile(r"[A-Za-z0-9_.,:/=+@%-]{1,256}")
_METRIC_NAME = re.compile(r".{1,255}")


@dataclass(frozen=True)
class TrainingOptions:
    """Training on SageMaker; other runs do not read it."""

    checkpoints: str = option(
        "", text(), "folder in the working directory that S3 keeps; empty: that of [job] checkpoints."
    )
    input_mode: str = option(
        "File",
        choice("File", "FastFile", "Pipe"),
        "File: data is copied; FastFile: read as it is used; Pipe: NAME_0, NAME_1 ... are pipes, one per epoch.",
    )
    distribution: str = option(
        "replicated", choice("replicated", "sharded"), "sharded: each instance gets a part of the objects of the data."
    )


@dataclass(frozen=True)
class ServeOptions:
    """Predictions of an endpoint, by the job's predict.py or by a server of its own."""

    command: str = option("", command(), "server of SageMaker's /ping and /invocations; empty: predict.py is served.")
    outputs: tuple[str, ...] = option((), text_lines(), "outputs that predictions need, or patterns; empty: all.")


TABLES: schema.Tables = {
    TRAINING: TrainingOptions,
    "serve": ServeOptions,
    HYPERPARAMETERS: schema.FREE_FORM,
    METRICS: schema.FREE_FORM,
}


@dataclass(frozen=True)
class TrainingSpec:
    """Training options, hyper-parameters and metrics of a job.

    :param hyperparameters: name -> value; options of its commands.
    :param metrics: name -> regular expression with one group, which is searched in each line.
    """

    options: TrainingOptions = TrainingOptions()
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)


NO_TRAINING = TrainingSpec()


def read(reader: SettingsReader) -> TrainingSpec:
    """Return the sections of a file; mistakes are added to the reader."""
    hyperparameters, metrics = reader.free_form(HYPERPARAMETERS), reader.free_form(METRICS)
    for name, value in hyperparameters.items():
        if problem := hyperparameter_problem(name, value):
            reader.add_problem(HYPERPARAMETERS, name.lower(), problem)
    for name, pattern in metrics.items():
        if problem := metric_problem(name, pattern):
            reader.add_problem(METRICS, name.lower(), problem)
    return TrainingSpec(reader.read_section(TRAINING, TrainingOptions), hyperparameters, metrics)


def hyperparameter_problem(name: str, value: str) -> str:
    """Return why a hyper-parameter cannot be an option of a command; empty if it can."""
    if not _NAME.fullmatch(name):
        return "needs a name of letters, digits and _ . -, with a letter first"
    if not _VALUE.fullmatch(value):
        return f"is not a value of 1 to {MAX_VALUE_CHARS} letters, digits and _ . , : / = + @ % -"
    return ""


def metric_problem(name: str, pattern: str) -> str:
    """Return why a metric cannot be found in lines; empty if it can."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        return f"is not a regular expression: {error}"
    if not _METRIC_NAME.fullmatch(name) or groups != 1 or not 0 < len(pattern) <= 500:
        return "needs one group, as in  loss=([0-9.]+), and at most 500 characters"
    return ""


def with_variable(line: str) -> str:
    """Return a command line that takes the hyper-parameters: at its end, unless it names their variable."""
    is_named = f"${VARIABLE}" in line or f"${{{VARIABLE}" in line
    return line if is_named or not line else f"{line} ${VARIABLE}"


def as_options(hyperparameters: Mapping[str, str]) -> str:
    """Return the value of the variable."""
    return " ".join(f"--{name} {value}" for name, value in hyperparameters.items())
