"""Command line: ``python -m localcloud scenario`` and ``calls``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.scenarios.reference import reference
from tests.support.localcloud.clients import boto
from tests.support.paths import ROOT


@pytest.mark.slow
def test_the_scenario_verb_plays_shows_and_refuses_scenarios(cloud: dict[str, str], tmp_path: Path) -> None:
    def command(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "localcloud", *args, "--home", cloud["LOCALCLOUD_HOME"]],
            env=dict(os.environ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    scenario, bad = tmp_path / "day.ini", tmp_path / "bad.ini"
    scenario.write_text("[scenario]\nseed = 7\n[slow]\nfault = slow\nseconds = 10 ms\n")
    bad.write_text("[slow]\nfault = slo\n")

    assert command("scenario", str(scenario)).returncode == 0
    assert "seed = 7" in command("scenario", "show").stdout
    refusal = command("scenario", str(bad))
    assert (refusal.returncode, f"{bad}:2: unknown fault 'slo': did you mean slow?" in refusal.stderr) == (1, True)
    assert command("scenario", "none").returncode == 0
    assert "fault" not in command("scenario", "show").stdout
    assert command("scenario", "kinds").stdout == reference()
    boto(cloud, "ec2").describe_instances()
    assert any("DescribeInstances" in line for line in command("calls").stdout.splitlines())
