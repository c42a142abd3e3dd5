"""Output that is closed, full or without a reader: what was asked for is done, and told where something can be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.interface.command_line import FAKE, environment, have_two_vms


def run_in_shell(place: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``stratus`` with arguments and redirections of bash."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -m {FAKE} {arguments}', sys.executable],
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=60,
    )


def vms(place: Path) -> dict[str, str]:
    """Return the states of the VMs that are there."""
    states: dict[str, str] = json.loads((place / "home/vms.json").read_text())
    return {name: state for name, state in states.items() if state != "terminated"}


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_keep_vms_from_being_terminated(place: Path, closed: str) -> None:
    have_two_vms(place)
    done = run_in_shell(place, f"terminate --yes {closed}")

    assert (done.returncode, done.stderr) == (0, "")
    assert vms(place) == {}


def test_output_that_cannot_be_written_is_named(place: Path) -> None:
    done = run_in_shell(place, "status >/dev/full")

    assert done.returncode == 1
    assert done.stderr == "the output cannot be written: No space left on device\n  stratus status  shows what is up\n"


def test_a_launch_whose_reader_has_gone_names_the_command_that_shows_what_is_up(place: Path) -> None:
    done = run_in_shell(place, "launch --yes | true")

    assert done.returncode == 141
    assert done.stderr == "The output was closed before the end.\n  stratus status  shows what is up\n"
    assert run_in_shell(place, "status | true").stderr == ""


def test_next_steps_quote_the_path_of_the_config(place: Path) -> None:
    (place / "config").rename(place / "my config")
    done = run_in_shell(place, '--config "my config/config.ini" status')

    assert "Next: stratus --config 'my config/config.ini' launch\n" in done.stdout
