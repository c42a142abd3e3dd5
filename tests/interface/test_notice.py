"""The notice at the end of a run, as a user sees it; on the session of tests/support/interface/fake_session.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.interface.command_line import have_two_vms, make_workplace, run_stratus
from tests.support.interface.fake_state import RUN

NOTIFY = """[job]
run = job
notify = echo "$STRATUS_RUN $STRATUS_STATE" >>notified{more}
notify_after = {after}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with two VMs."""
    make_workplace(tmp_path)
    have_two_vms(tmp_path)
    return tmp_path


def set_notify(folder: Path, *, more: str = "", after: str = "0") -> None:
    (folder / "config/config.ini").write_text(NOTIFY.format(more=more, after=after))


def test_the_users_command_gets_run_and_state(folder: Path) -> None:
    set_notify(folder)
    run_stratus(folder, "run")
    run_stratus(folder, "attach", bad="job-fails")

    assert (folder / "notified").read_text() == f"{RUN} done\n{RUN} failed\n"


def test_a_short_run_gives_no_notice(folder: Path) -> None:
    set_notify(folder, after="60")
    done = run_stratus(folder, "run")

    assert not (folder / "notified").exists()
    assert "\a" not in done.stdout


def test_a_command_that_fails_is_one_line_and_the_run_counts(folder: Path) -> None:
    set_notify(folder, more="; echo no mail >&2; exit 7")
    done = run_stratus(folder, "run")

    assert (done.returncode, done.stderr) == (0, "[job] notify: exit 7 no mail\n")
