"""Hosts that failed, as text."""

from __future__ import annotations

from orchestrator.core.errors import HostError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render.styles import failures
from tests.support.interface.rendered import texts


def test_a_host_is_named_once_and_its_fix_is_indented() -> None:
    error = HostError("no answer", where="ml-1", fix=NextStep("Status") + " shows it")

    assert texts(failures({"ml-1": error})) == ["  ml-1  failed  no answer", "    Status() shows it"]


def test_a_foreign_error_keeps_its_text_and_one_without_text_its_class() -> None:
    assert texts(failures({"a": ValueError("x\n  Run(y)"), "b": KeyError()})) == [
        "  a  failed  x",
        "    Run(y)",
        "  b  failed  KeyError",
    ]


def test_hints_stay_hints() -> None:
    (_, fix) = failures({"ml-1": HostError("x", fix=NextStep("Status"))})

    assert NextStep("Status") in fix.parts  # type: ignore[union-attr]
