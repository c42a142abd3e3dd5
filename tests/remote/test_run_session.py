"""A run's one session on a host: preparation, the order to start, the start, and the output."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.install.run_preparation import SCRIPTS
from tests.support.localcloud.clients import wait_until
from tests.support.script_host import START_ARGS, ScriptHost, processes, run_content

RUN = "20261120-141203-k3x"
PRESENT = b"data? present.sh path data\n"


@pytest.fixture
def vm(tmp_path: Path) -> ScriptHost:
    (tmp_path / "home").mkdir()
    return ScriptHost(tmp_path / "home")


def run_session(vm: ScriptHost, order: bytes, plan: bytes = b"", **commands: str) -> list[str]:
    """Return the output of a session in which the order follows the preparation at once."""
    scripts = remote_scripts.scripts((*remote_scripts.INSTALL_SCRIPTS, *SCRIPTS)) | {"plan": plan}
    bundle = remote_scripts.bundle(run_content(RUN, {}, commands), remote_scripts.bundle_part(scripts))
    command = remote_scripts.bundle_command("run.sh", RUN, *START_ARGS)
    return vm.run(command, bundle + order).splitlines()


def bundles(vm: ScriptHost) -> list[Path]:
    return list((vm.home / "stratus").glob(".bundle.*"))


def test_a_run_is_started_and_followed_in_the_session_of_its_preparation(vm: ScriptHost) -> None:
    lines = run_session(vm, b"follow @@m\n", main="echo out; env | grep -c -e ^STRATUS_BUNDLE -e ^TMPDIR; exit 3")

    assert lines[:3] == ["@@ready", "@@started main", "@@start 0"]
    assert [line for line in lines[3:] if not line.startswith("@@m times")] == ["out", "0", "@@m exit 3"]
    assert bundles(vm) == []


def test_a_detached_run_goes_on_without_its_session(vm: ScriptHost) -> None:
    assert run_session(vm, b"go\n", main="sleep 0.5; echo late") == ["@@ready", "@@started main", "@@start 0"]
    assert bundles(vm) == []
    assert vm.follow(RUN) == ["late", "@@ exit 0"]


@pytest.mark.parametrize("order", [b"", b"stop\n", b"goon\n"])
def test_nothing_is_started_without_the_order(vm: ScriptHost, order: bytes) -> None:
    """The caller is gone, or another host lacks something."""
    assert run_session(vm, order, main="true") == ["@@ready"]
    assert not (vm.home / "stratus/runs").exists()
    assert bundles(vm) == []


def test_nothing_is_started_where_something_is_missing(vm: ScriptHost) -> None:
    lines = run_session(vm, b"go\n", PRESENT, main="true")

    assert [line.rsplit(" ", 1)[0] for line in lines] == ["@@step data start", "@@step data missing"]
    assert not (vm.home / "stratus/runs").exists()
    assert bundles(vm) == []


def test_a_failed_start_is_the_status_of_the_session(vm: ScriptHost) -> None:
    (vm.home / "stratus").mkdir()
    (vm.home / "stratus/runs").write_text("a file where the runs should be")
    with pytest.raises(AssertionError):
        run_session(vm, b"follow @@m\n", main="true")
    assert bundles(vm) == []


def test_a_session_whose_caller_is_gone_ends(vm: ScriptHost) -> None:
    """As SSH closes the input then."""
    scripts = remote_scripts.scripts((*remote_scripts.INSTALL_SCRIPTS, *SCRIPTS)) | {"plan": b""}
    command = ["sh", "-c", remote_scripts.bundle_command("run.sh", RUN, *START_ARGS)]
    with subprocess.Popen(command, env=vm.env, cwd=vm.home, stdin=-1, stdout=-1) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(remote_scripts.bundle(run_content(RUN, {}, {"main": "true"}) | scripts))
        process.stdin.flush()
        assert process.stdout.readline() == b"@@ready\n"
        process.stdin.close()
        assert process.wait(30) == 0
    wait_until(lambda: not [line for line in processes("run.sh") if str(vm.home) in line])
    assert not (vm.home / "stratus/runs").exists()


def test_a_host_is_asked_once_per_boot_whether_it_is_a_spot_instance(vm: ScriptHost) -> None:
    kind = vm.home / "stratus/state/not-spot"
    kind.parent.mkdir(parents=True)
    kind.write_bytes(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    spot = {"bin/spot.sh": 'touch "$1/state/asked"\n'}
    asked = [vm.home / f"stratus/runs/{RUN}{number}/state/asked" for number in range(2)]

    vm.start(f"{RUN}0", spot, main="true")
    kind.write_text("another boot\n")
    vm.start(f"{RUN}1", spot, main="true")

    wait_until(asked[1].exists)
    assert not asked[0].exists()
