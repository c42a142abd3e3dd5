"""Elastic Fabric Adapters: what fi_info says on a host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.hosts import efa


@pytest.mark.parametrize(
    ("fi_info", "problem"),
    [
        ("", efa.NO_SOFTWARE),
        ("echo 'provider: efa'; echo '    fabric: efa'", ""),
        ("echo 'fi_getinfo: -61 (No data available)'; exit 61", "fi_info -p efa: fi_getinfo: -61 (No data available)"),
        ("printf '\\033]0;owned'", "fi_info -p efa: ?]0;owned"),
    ],
)
def test_what_fi_info_says_is_a_problem_or_nothing(tmp_path: Path, fi_info: str, problem: str) -> None:
    if fi_info:
        (tmp_path / "fi_info").write_text(f"#!/bin/sh\n{fi_info}\n")
        (tmp_path / "fi_info").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = remote_scripts.inline_command("health/efa_check.sh")
    answer = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)

    assert efa.parse(answer.stdout) == problem
