"""bake.sh in a home folder: what comes back, when, and for whom."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from tests.support.localcloud.clients import wait_until
from tests.support.script_host import ScriptHost

Bake = Callable[..., str]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key that no image may have."""
    key = tmp_path / "vm/home/ubuntu/.ssh/id"
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    return key


@pytest.fixture
def bake(key: Path) -> Bake:
    """Returns the last line of bake.sh, called with arguments."""
    host = ScriptHost(key.parent.parent)
    bundle = remote_scripts.bundle(remote_scripts.scripts(("bake.sh",)))
    return lambda *args: host.run(remote_scripts.bundle_command("bake.sh", *args), bundle).strip()


@pytest.fixture
def timers(key: Path) -> Callable[[], list[str]]:
    """Returns the process ids of the timers of this host."""
    home = key.parent.parent
    number = subprocess.run(["cksum"], input=f"{home}\n".encode(), capture_output=True, check=True).stdout.split()[0]
    stash = b"\0/dev/shm/stratus-bake.%s\0" % number
    return lambda: [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if stash in content(path)]


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_only_the_preparation_itself_gives_the_keys_back(bake: Bake, key: Path) -> None:
    assert bake("prepare", "one", "laptop", "600") == "@@ready"
    assert bake("prepare", "two", "desktop", "600") == "@@busy image"
    assert bake("restore", "two") == "@@late restored"
    assert not key.exists()
    assert bake("restore", "one") == "@@restored"
    assert key.read_text() == "secret"


def test_a_check_changes_nothing_and_refuses_as_the_preparation_does(bake: Bake, key: Path) -> None:
    job = key.parent.parent / "stratus/runs/20260101-0000-k3/job.json"
    job.parent.mkdir(parents=True)
    job.write_text("{}")

    assert bake("check", "one", "laptop", "600") == "@@run 20260101-0000-k3"
    assert bake("check", "one", "laptop", "600", "drop") == "@@ready"
    assert key.read_text() == "secret"
    assert job.exists()


def test_a_computer_goes_on_after_its_shell_was_killed(bake: Bake, key: Path) -> None:
    for token in ("one", "two", "three"):
        assert bake("prepare", token, "laptop", "600") == "@@ready"
    assert bake("restore", "two") == "@@late restored"
    assert bake("restore", "three") == "@@restored"
    assert key.read_text() == "secret"


def test_a_host_comes_back_by_itself_and_no_timer_outlives_its_preparation(
    bake: Bake, key: Path, timers: Callable[[], list[str]]
) -> None:
    """Else the keys would be in an image that is made some minutes after another one."""
    assert bake("prepare", "one", "laptop", "600") == "@@ready"
    assert len(timers()) == 1
    assert bake("prepare", "two", "laptop", "600") == "@@ready"
    assert bake("restore", "two") == "@@restored"
    wait_until(lambda: timers() == [])

    assert bake("prepare", "three", "laptop", "1") == "@@ready"
    wait_until(key.exists)
    assert bake("restore", "three") == "@@late restored"
