"""The first day of a researcher: README's two roads to the prompt, and a session in which every hint is typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import localcloud
from tests.support.interface.typist import Typist
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

SCRIPT = """\
import json, os, pathlib, sys
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/metrics.json").write_text(json.dumps({"rank": int(os.environ["STRATUS_RANK"])}))
print("trained with", *sys.argv[1:])
"""
OTHER_JOB = (
    f"[job]\npython = {sys.executable}\nsingle = mkdir outputs && echo other > outputs/text && cat outputs/text\n"
)

Environment = dict[str, str]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Environment]:
    """The environment of a new user, whose embedded cloud ends with the test."""
    keep = {
        name: value for name, value in os.environ.items() if re.fullmatch(r"(?i)PIP_\w+|SSL_CERT_\w+|\w+_PROXY", name)
    }
    cloud = tmp_path / "cloud"
    yield keep | {
        "PATH": f"{plain_python(tmp_path / 'bin')}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "STRATUS_HOME": str(tmp_path / "home"),
        "LOCALCLOUD_HOME": str(cloud),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "LC_ALL": "C.UTF-8",
    }
    localcloud.down(cloud)


def plain_python(folder: Path) -> Path:
    """Make a folder with a ``python`` that has the standard library only."""
    folder.mkdir()
    for name in ("python", "python3"):
        (folder / name).symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my-project"
    path.mkdir()
    return path


def run(command: str, folder: Path, env: Environment) -> str:
    """Run a line as it is typed into a terminal; return what it prints."""
    done = subprocess.run(
        command, shell=True, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def readme_lines(first: str) -> list[str]:
    """Return the lines of README's block that begins like this, without their comments."""
    blocks = re.findall(r"(?m)(?:^    .*\n)+", (ROOT / "README.md").read_text(encoding="utf-8"))
    (block,) = [block for block in blocks if block.lstrip().startswith(first)]
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def session(shell: Typist) -> None:
    """Type README's session, line by line."""
    for line in readme_lines("LaunchInstances"):
        shell.type(line)
    shell.child.send("exit\r")


def installed(tmp_path: Path, env: Environment) -> Environment:
    """Return the environment of a terminal in which README's pip line was typed, in a fresh virtual environment."""
    # A clone: pip builds inside the folder that it installs.
    run(f"git clone --quiet {shlex.quote(str(ROOT))} clone", tmp_path, env)
    run(f"{shlex.quote(sys.executable)} -m venv own", tmp_path, env)
    env = env | {"PATH": f"{tmp_path}/own/bin:{env['PATH']}"}
    pip, *_ = readme_lines("pip install")
    # First without the extra: the embedded cloud then names the command that installs its packages.
    run("pip install ./clone", tmp_path, env)
    refused = subprocess.run(
        "stratus --local status", shell=True, cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "the embedded cloud needs packages that are missing here: moto, asyncssh" in refused.stderr
    run(refused.stderr.splitlines()[1].partition("  installs")[0].strip(), tmp_path, env)
    run(pip.replace("/path/to/stratus", str(tmp_path / "clone")), tmp_path, env)
    return env


def test_the_road_through_the_checkout(tmp_path: Path, home: Environment) -> None:
    clone, demo, prompt = readme_lines("git clone")
    run(clone.replace("<this repository>", shlex.quote(str(ROOT))), tmp_path, home)
    checkout = tmp_path / "stratus"
    assert demo == "scripts/demo"  # scripts/newcomer runs it
    refused = subprocess.run(prompt, shell=True, cwd=checkout, env=home, capture_output=True, text=True)
    assert refused.returncode == 2
    # The hint, as it was printed.
    run(refused.stderr.splitlines()[1].partition("  installs")[0].strip(), checkout, home)
    with Typist(["sh", "-c", prompt], checkout, home) as shell:
        assert "embedded cloud (no AWS account, nothing is billed)" in shell.banner
        # Without the demo there are no scenes yet.
        shell.follow(shell.type('Config("check")'), "SampleData")
        assert "no mistakes" in shell.type('Config("check")')
        assert "1 of 1 ready" in shell.type("LaunchInstances(1)")
        assert "0 VMs running" in shell.type("TerminateAll()")


def test_the_road_through_an_environment_of_ones_own(tmp_path: Path, home: Environment) -> None:
    env = installed(tmp_path, home)
    _, folder, init, prompt = readme_lines("pip install")
    run(f"{folder} && {init}", tmp_path, env)
    project = tmp_path / "my-project"
    run("stratus config check", project, env)
    with Typist(["sh", "-c", prompt], project, env) as shell:
        session(shell)
    (metrics,) = {path.read_text() for path in project.glob("runs/*/outputs/ml-0/metrics.json")}
    assert json.loads(metrics)["slope"] == pytest.approx(1.7, abs=0.1)


@pytest.fixture
def stratus(home: Environment, folder: Path) -> Callable[[], Typist]:
    """Open a shell of this checkout in a project of one's own, with packages that need no network."""
    start = [sys.executable, str(ROOT / "run_interface.py")]
    run(shlex.join([*start, "config", "init"]), folder, home)
    job = folder / "first_job/job.ini"
    job.write_text(job.read_text().replace("[job]\n", f"[job]\npython = {sys.executable}\n"))
    return lambda: Typist([*start, "--local"], folder, home)


def test_a_long_session_in_which_every_hint_is_typed(folder: Path, stratus: Callable[[], Typist]) -> None:
    (folder / "train.py").write_text(SCRIPT)
    (folder / "long.sh").write_text("echo started\nsleep 600\n")
    (folder / "other").mkdir()
    (folder / "other/job.ini").write_text(OTHER_JOB)
    with stratus() as shell:
        text = shell.follow(shell.type("InstallDeps()"), "LaunchInstances")
        for verb in ("InstallDeps", "RunSingleVMComputing", "FetchResults"):
            text = shell.follow(text, verb)
        assert "slope 1.7" in text

        # A script of one's own, then another job, which is installed first.
        text = shell.type('RunSingleVMComputing("train.py --epochs 3")')
        assert "trained with --epochs 3" in text
        assert "rank 0" in shell.follow(text, "FetchResults")
        assert "| other" in shell.type('RunSingleVMComputing("other")')
        assert shell.type('InstallDeps(job="other")')

        # Stopped VMs: the hint starts them.
        assert "stopped" in shell.type("StopAll()")
        stopped = shell.type("InstallDeps()")
        assert "no VM of cluster ml is running; stopped: ml-0" in stopped
        assert "running" in shell.follow(stopped, "StartAll")
        assert "first_job done" in shell.type("RunSingleVMComputing()")

        # A second shell sees the run of the first, and an experiment leaves it alone.
        detached = shell.type('RunSingleVMComputing("long.sh", detach=True)')
        run_id = detached.partition("Attach(")[2].partition(")")[0]
        with stratus() as second:
            second.until(r"1 up")
            report = second.type('RunExperiment("train.py", n=1)', answer="y")
            assert "ml-1 terminated" in report
            assert re.search(r"running +\S+ ", second.type("Runs()"))
        assert "cancelled" in shell.type(f"CancelJob({run_id})")
        assert "0 VMs running" in shell.type("TerminateAll()")


def test_the_same_in_a_terminal(tmp_path: Path, home: Environment, folder: Path) -> None:
    """Each command's own hint is the next line that is typed."""
    (tmp_path / "bin/stratus").symlink_to(Path(sys.executable).parent / "stratus")
    text = run("stratus config init", folder, home)
    job = folder / "first_job/job.ini"
    job.write_text(job.read_text().replace("[job]\n", f"[job]\npython = {sys.executable}\n"))
    text = run(f"{next_command(text, 'launch')} --yes", folder, home)
    for verb in ("install", "run", "fetch"):
        text = run(next_command(text, verb), folder, home)
    assert "slope 1.7" in text
    assert "0 VMs running" in run("stratus --local terminate", folder, home)


def next_command(text: str, verb: str) -> str:
    """Return the hint for a verb in a text, as it is printed."""
    match = re.search(rf"stratus (?:--local )?{verb}\b", text)
    assert match, f"no hint for {verb} in:\n{text}"
    return match[0]
