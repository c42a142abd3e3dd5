"""Hyper-parameters as they are typed: on a command line, at the prompt, as JSON."""

from __future__ import annotations

import shlex
from functools import partial

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.cli import commands, parser
from orchestrator.interface.verbs.registry import default_registry
from orchestrator.interface.verbs.sagemaker import hyperparameter_values

AGAIN = partial(NextStep, "TrainOnSageMaker", "mine")


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        (None, {}),
        ("epochs=2,lr=0.1", {"epochs": "2", "lr": "0.1"}),
        ("epochs=2 lr=0.1", {"epochs": "2", "lr": "0.1"}),
        ("layers=16,32,name=a=b", {"layers": "16,32", "name": "a=b"}),
        ('{"epochs": 2, "flag": true}', {"epochs": "2", "flag": "True"}),
        ({"epochs": 2, "lr": 1e-3, "name": "x"}, {"epochs": "2", "lr": "0.001", "name": "x"}),
    ],
)
def test_all_forms_name_the_same_values(typed: object, values: dict[str, str]) -> None:
    assert hyperparameter_values.read(typed, AGAIN) == values


@pytest.mark.parametrize("typed", ["epochs", "2", "{epochs}", [1], {"epochs": None}, {"layers": [1, 2]}])
def test_anything_else_is_refused_with_the_same_verb(typed: object) -> None:
    with pytest.raises(UsageError) as caught:
        hyperparameter_values.read(typed, AGAIN)

    assert str(caught.value.fix) == 'TrainOnSageMaker("mine", hyperparameters="epochs=2,lr=0.1")'


def test_the_command_line_takes_the_text_that_a_hint_prints() -> None:
    registry = default_registry()
    text = hyperparameter_values.as_text({"epochs": "2", "lr": "0.1"})
    line = registry.as_command(AGAIN(hyperparameters=text, yes=True), "stratus")
    options = parser.parse(shlex.split(line)[1:], commands.commands(registry, "stratus"), "stratus")

    assert hyperparameter_values.read(options.hyperparameters, AGAIN) == {"epochs": "2", "lr": "0.1"}
