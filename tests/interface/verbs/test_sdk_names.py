"""Arguments of SageMaker's own SDK are answered with what takes their place."""

from __future__ import annotations

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.interface.cli import commands, parser
from orchestrator.interface.verbs.registry import default_registry
from orchestrator.interface.verbs.sagemaker import sdk_names


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("launch --train_instance_count 2", "train_instance_count of SageMaker's SDK is here: --count 2"),
        ("run folder --train-instance-type=ml.p3.2xlarge", "SageMaker's SDK is here: --instance-type ml.p3.2xlarge"),
        ("run train.py --role x", "passes them to the script"),
        ("launch --epochs 2", "stratus launch --help"),
    ],
)
def test_a_command_line_with_an_argument_of_the_sdk_names_ours(line: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parser.parse(line.split(), commands.commands(default_registry(), "stratus"), "stratus")

    assert fix in str(caught.value)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"initial_instance_count": 1}, "initial_instance_count of SageMaker's SDK is here: count=1"),
        ({"instance_count": 3}, "instance_count of SageMaker's SDK is here: count=3"),
        ({"max_parallel_jobs": 2}, "max_parallel_jobs of SageMaker's SDK is here: parallel=2"),
        ({"max_jobs": 3}, "max_jobs of SageMaker's SDK is here: jobs=3"),
        ({"wait": False}, "wait of SageMaker's SDK is here: detach=True, for wait=False"),
    ],
)
def test_a_call_with_an_argument_of_the_sdk_keeps_its_value(options: dict[str, object], fix: str) -> None:
    message = f"got an unexpected keyword argument '{next(iter(options))}'"

    assert sdk_names.instead_of_unexpected(message, options) == fix


def test_other_messages_and_names_have_no_such_hint() -> None:
    assert sdk_names.instead_of(["--epochs", "3"]) == ""
    assert sdk_names.instead_of_unexpected("too many positional arguments") == ""
