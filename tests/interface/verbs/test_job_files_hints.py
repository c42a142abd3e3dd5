"""Hints of the verbs on jobs: arguments in the wrong place, and scripts beside the job of the config file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("name", ["../proj/train.py", "/proj/sub", "my.ini"])
def test_a_job_in_the_place_of_a_host_is_answered_with_its_option(launched: Stratus, name: str) -> None:
    done = launched("-c", f"InstallDeps({name!r})")

    assert done.returncode == 2
    assert f"{name}: not the name of a VM; a job has to be named as such" in done.stderr
    assert f'InstallDeps(job="{name}")' in done.stderr


@pytest.mark.parametrize("run", ["ml-7", "ml-7, ml-1"])
def test_a_host_in_the_place_of_a_run_is_answered_with_its_option(launched: Stratus, run: str) -> None:
    done = launched("-c", f"Logs({run!r})")

    assert done.returncode == 2
    assert 'Logs(host="ml-7")  shows the log of one VM' in done.stderr


def test_statements_name_the_quotes_that_an_argument_lacks(launched: Stratus) -> None:
    done = launched("-c", "Status(); Logs(k3)")

    assert 'Logs("k3")   a text is in quotes' in done.stderr


def test_a_job_with_mistakes_is_no_obstacle_for_a_script_of_ones_own(launched: Stratus, place: Path) -> None:
    (place / "train.py").touch()
    done = launched("install", bad="bad-ini")

    assert done.returncode == 2
    assert "1 mistake. Nothing was run.\n  stratus run train.py runs a script of your own" in done.stderr
    assert "\n  stratus run train.py runs a script of your own" in launched("run", "--multi", bad="bad-ini").stderr


def test_after_a_launch_an_install_is_next_only_if_the_job_can_be_installed(stratus: Stratus) -> None:
    assert "Next: stratus install" in stratus("launch", "-n", "1", "--yes").stdout
    done = stratus("launch", "-n", "1", "--yes", bad="no-job")

    assert "Next: stratus run your_script.py runs a script of your own" in done.stdout
