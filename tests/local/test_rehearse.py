"""Rehearsals with the user's config, through run_interface.py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCENARIO = """
[scenario]
seed = 3
[no room in one zone]
fault = no-capacity
where = us-west-2a / c7i.2xlarge / on-demand
[a reboot in an hour]
fault = host-reboots
when = 3600 s after running
[another region]
fault = error
code = InternalError
action = RunInstances
where = eu-west-1
"""
CONFIG = """
[cluster]
count = 1
[aws]
profile = nobody-has-this
subnet_id = subnet-0123456789abcdef0
[job]
run = job
"""


def rehearse(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, str(ROOT / "run_interface.py"), "--config", "config.ini", "rehearse", *args]
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_a_rehearsal_replaces_the_configs_account_and_reports_injected_faults(tmp_path: Path) -> None:
    """Options of a real account are left out, the fault is reported, and nothing of the rehearsal stays."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job/job.ini").write_text(
        f"[job]\npython = {sys.executable}\nsystem_packages = yes\nsingle = echo done\n"
    )
    (tmp_path / "config.ini").write_text(CONFIG)
    (tmp_path / "day.ini").write_text(SCENARIO)
    process = rehearse(tmp_path, "day.ini")

    assert process.returncode == 0, process.stderr
    assert "us-west-2a: InsufficientInstanceCapacity; next c7i.2xlarge in us-west-2b" in process.stdout
    assert "  RunInstances: InsufficientInstanceCapacity\n" in process.stdout
    assert "  [a reboot in an hour] host-reboots: had no effect (see its where and when)\n" in process.stdout
    assert "  [another region] error: had no effect (see its where and when)\n" in process.stdout
    assert "[no room in one zone]" not in process.stdout
    assert process.stdout.endswith("exit code 0; 0 VMs left\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.ini", "day.ini", "job", "runs"]


def test_a_scenario_with_mistakes_is_refused(tmp_path: Path) -> None:
    """Each mistake is reported with its line, exit code 2 and no traceback."""
    (tmp_path / "config.ini").write_text(CONFIG)
    (tmp_path / "day.ini").write_text("[scenario]\nseed = 3\n[x]\nfault = no-capcity\n")
    process = rehearse(tmp_path, "day.ini")

    assert process.returncode == 2
    assert "day.ini:4:" in process.stderr
    assert "did you mean no-capacity?" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_a_fresh_project_is_rehearsed_with_its_own_config_and_job(tmp_path: Path, cloud: Mapping[str, str]) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"LOCALCLOUD_HOME": cloud["LOCALCLOUD_HOME"], "STRATUS_HOME": str(tmp_path / "home")}

    def stratus(*args: str) -> str:
        command = [sys.executable, str(ROOT / "run_interface.py"), *args]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "config/config.ini and the job first_job/ written" in stratus("config", "init")
    config = tmp_path / "config/config.ini"
    config.write_text(config.read_text().replace("name = ml ", "name = own "))
    shown = stratus("--local", "-c", "LaunchInstances(1); Config('check'); TerminateAll()")
    # In any zone: other tests may have used up the first ones.
    assert "  own-0  ready  us-west-2" in shown
    assert "config/config.ini: no mistakes, 0 warnings.  Job first_job: no mistakes." in shown
    assert "  own-0 terminated   security group gone   key pair gone\n" in shown
