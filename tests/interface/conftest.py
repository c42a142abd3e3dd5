"""Fixtures of the tests that run ``stratus`` as a program."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.interface import command_line

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with a config file and a job."""
    return command_line.make_workplace(tmp_path)


@pytest.fixture
def stratus(place: Path) -> Stratus:
    """Run ``stratus`` with some arguments."""
    return partial(command_line.run_stratus, place)


@pytest.fixture
def launched(place: Path, stratus: Stratus) -> Stratus:
    """The same, with two VMs up."""
    command_line.have_two_vms(place)
    return stratus
