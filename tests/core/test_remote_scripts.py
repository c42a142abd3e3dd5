"""Remote scripts as they travel to the VMs."""

from __future__ import annotations

import subprocess

import pytest

from orchestrator.core import remote_scripts


@pytest.mark.parametrize("name", ["expire.sh", "idle.sh"])
def test_a_script_of_the_user_data_differs_only_in_comments_and_indentation(name: str) -> None:
    text = remote_scripts.text_without_comments(name)
    lines = [line.lstrip(" ") for line in remote_scripts.text(name).splitlines()]
    code = [line for line in lines if not line.startswith("#")]

    assert text.splitlines() == ["#!/bin/sh", *code]
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    # Lines of a text may begin with the same character, and must not be dropped.
    assert "<<" not in text


def test_an_install_gets_the_scripts_of_its_steps_and_what_those_use() -> None:
    assert remote_scripts.install_scripts(frozenset({"parcel.sh", "engine.sh"})) == (
        *("install.sh", "parcel.py", "pieces.py", "peers.py"),
        *("steps/common.sh", "steps/apt.sh", "steps/parcel.sh", "steps/engine.sh"),
    )


def test_every_install_script_is_used_by_a_step() -> None:
    steps = frozenset(f"{name}.sh" for name in remote_scripts.STEPS.split())

    assert remote_scripts.install_scripts(steps) == remote_scripts.INSTALL_SCRIPTS
