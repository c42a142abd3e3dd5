"""Tab inside a verb's call: the parameter in which the cursor is decides what is completed."""

from __future__ import annotations

import pytest

from orchestrator.interface.shell.completer import completed_parameter
from orchestrator.interface.verbs.registry import default_registry

REGISTRY = default_registry()


@pytest.mark.parametrize(
    ("text", "completes", "typed"),
    [
        ('Ssh("ml-', "host", "ml-"),
        ("Ssh('", "host", ""),
        ('x = Attach("k', "run", "k"),
        ('Attach(run="k', "run", "k"),
        ('Logs("k3", host="ml-', "host", "ml-"),
        ('InstallDeps("ml-0", "ml-', "host", "ml-"),
        ('Gpus("ml-0", "', "host", ""),
        ('RunSingleVMComputing("examples/', None, ""),
        ('RunSingleVMComputing("ex', "job", "ex"),
        ('RunSingleVMComputing(host = "ml', "host", "ml"),
        ('RunCommand("df -h", host="', "host", ""),
        ('RunCommand("df', "", "df"),
        ('Ssh("ml-0", "nvidia', "", "nvidia"),
        ('Recover("', "", ""),
    ],
)
def test_a_string_in_a_call_is_a_parameters(text: str, completes: str | None, typed: str) -> None:
    completed = completed_parameter(REGISTRY, text)

    if completes is None:
        assert completed is None
    else:
        assert completed is not None
        assert (completed[0].completes, completed[1]) == (completes, typed)


@pytest.mark.parametrize("text", ['print("ml-', "Ssh(", 'Attach("k3", "', 'Attach(host="', 'Ssh("ml-0")'])
def test_elsewhere_there_is_no_parameter(text: str) -> None:
    assert completed_parameter(REGISTRY, text) is None
