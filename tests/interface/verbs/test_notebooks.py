"""Jupyter(): which of its two uses is meant, and options that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.interface.console import Console
from orchestrator.interface.verbs.notebooks import jupyter, tensorboard
from orchestrator.interface.workspace import Workspace


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["a.ipynb"], {"kernel": "job"}, "kernel is for JupyterLab"),
        (["'my notes/a.ipynb' -p year 2024"], {"kernel": "job"}, "kernel is for JupyterLab"),
        (["ml-0"], {"on": "ml-1"}, "ml-0 and ml-1: which VM"),
        (["ml-0"], {"detach": True}, "detach is for a notebook that is executed"),
        ([], {"parameters": {"year": 1}}, "parameters is for a notebook that is executed"),
        (["a.ipynb"], {"parameters": ["year"]}, r"parameters = \['year'\]: a dictionary"),
        (["a.ipynb"], {"parameters": {"my year": 1}}, "'my year' is not the name of a variable"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(arguments: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        jupyter(Workspace(None, Console(), REAL_CLOCK), *arguments, **options)

    assert "\n" not in caught.value.message
    assert "Jupyter(" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["-v"], {}, "'-v': not a folder on a VM"),
        (["logs\nmore"], {}, "not a folder on a VM"),
        ([], {"run": "k3/../x"}, "'k3/../x': not the id of a run"),
    ],
)
def test_tensorboard_refuses_what_is_no_folder_or_run(
    arguments: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tensorboard(Workspace(None, Console(), REAL_CLOCK), *arguments, **options)
