"""Shell and command line on the embedded cloud, as a user starts them: ``python run_interface.py --local``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import localcloud
from tests.support.paths import ROOT
from tests.support.waiting import wait_until

pexpect = pytest.importorskip("pexpect")

START = [str(ROOT / "run_interface.py"), "--local"]

JOB = """\
[job]
single = python -c "import json, os; os.mkdir('outputs'); json.dump({'answer': 42}, open('outputs/metrics.json', 'w'))"
"""

Place = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A working directory with a job, and a cloud of its own that ends with this process at the latest."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "config").mkdir()
    config = (ROOT / "config/local.ini").read_text()
    (folder / "config/local.ini").write_text(re.sub(r"(?m)^run = .*", "run = job", config))
    (folder / "job").mkdir()
    (folder / "job/job.ini").write_text(JOB)
    cloud = folder / "cloud"
    localcloud.up(cloud, pending=0.4, boot=0.1, bound_to=os.getpid())
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    own = {"LOCALCLOUD_HOME": str(cloud), "STRATUS_HOME": str(folder / "home"), "IPYTHONDIR": str(folder / "ipython")}
    # Settings of a real account: the embedded cloud must not see them.
    real = {
        "AWS_PROFILE": "production",
        "AWS_SESSION_TOKEN": "real",
        "AWS_ENDPOINT_URL_EC2": "https://ec2.amazonaws.com",
    }
    yield folder, keep | own | real | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    localcloud.down(cloud)


@pytest.fixture(scope="module")
def stratus(place: Place) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one command line."""

    def run(*arguments: str) -> Any:
        folder, env = place
        return subprocess.run(
            [sys.executable, *START, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=120
        )

    return run


@pytest.mark.slow
def test_a_session_that_moves_from_the_shell_to_the_command_line(place: Place, stratus: Callable[..., Any]) -> None:
    folder, env = place
    child = pexpect.spawn(
        sys.executable, START, cwd=folder, env=env, encoding="utf-8", timeout=60, dimensions=(50, 140)
    )
    child.expect("embedded cloud \\(no AWS account, nothing is billed\\)")
    child.expect("0 up\\]:")
    child.send("LaunchInstances(1)\r")
    child.expect("at most \\S*\\$2\\.96\\S* if you forget it")
    child.expect("Launch\\? \\[Y/n\\]")
    child.send("\r")
    child.expect("1 of 1 ready in")
    child.send("exit\r")
    child.expect("1 VM is still running: \\$0\\.37/h")
    child.expect(f"To terminate from any shell:  python3? {START[0]} --local terminate")
    child.expect(pexpect.EOF)

    status = json.loads(stratus("--output", "json", "status").stdout)
    assert [machine["name"] for machine in status["machines"]] == ["ml-0"]
    assert status["usd_per_hour"].startswith("0.370")
    assert stratus("ssh", "ml-0", "--", "echo", "hello").stdout == "hello\n"
    assert stratus("ssh", "ml-0", "--", "exit 3").returncode == 3

    done = stratus("-c", "InstallDeps(); RunSingleVMComputing(); FetchResults()")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "    answer 42\n" in done.stdout

    ended = stratus("terminate")
    assert ended.returncode == 0, ended.stderr
    assert "  ml-0 terminated   security group gone   key pair gone\n  0 VMs running." in ended.stdout
    assert json.loads(stratus("status", "--output", "json").stdout)["machines"] == []


@pytest.mark.slow
def test_an_install_that_was_left_continues_and_a_run_waits_for_it(place: Place, stratus: Callable[..., Any]) -> None:
    """Ctrl-C ends the command, not the work on the VM."""
    folder, env = place
    (folder / "other").mkdir()
    setup = "touch ~/begun; until [ -e ~/go ]; do sleep 0.1; done"
    (folder / "other/job.ini").write_text(f"[job]\nsetup = {setup}\nsingle = echo it ran\n")
    assert stratus("launch", "-n", "1", "--yes").returncode == 0
    (home,) = (folder / "cloud/machines").glob("*/home/ubuntu")
    command = [sys.executable, *START, "install", "--job", "other"]
    with subprocess.Popen(command, cwd=folder, env=env, stdout=-1, stderr=-2, text=True) as install:
        wait_until(lambda: (home / "begun").exists())
        install.send_signal(signal.SIGINT)
        output, _ = install.communicate(timeout=60)

    assert install.returncode == 130
    assert "Interrupted. The VMs continue without this computer." in output
    assert re.search(r"--local install --job other\s+shows it", output)
    assert not (home / "stratus/venvs/other/.stratus-setup").exists()
    (home / "go").touch()
    run = stratus("run", "other")
    assert (run.returncode, "it ran" in run.stdout) == (0, True), run.stdout + run.stderr
    assert "first: not installed" not in stratus("run", "other").stdout
    assert stratus("terminate").returncode == 0
