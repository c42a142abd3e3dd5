"""The shell as a person meets it: real IPython on a real terminal, a session of paper behind it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

pexpect = pytest.importorskip("pexpect")

# A prompt that changes is redrawn only where it differs, so its beginning may have come earlier.
UP = r"2 up \$0\.73/h\]:\s*$"
NONE = r"0 up\]:\s*$"

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>]|\r")


class Sitting:
    """One shell, typed into and read as text without colours and cursor moves."""

    def __init__(self, place: Path, bad: str = "") -> None:
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(place),
            "PYTHONPATH": str(ROOT),
            "STRATUS_HOME": str(place / "home"),
            "IPYTHONDIR": str(place / "ipython"),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PAPER": bad,
            "LC_ALL": "C.UTF-8",
        }
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "tests.support.fake_session"],
            cwd=place,
            env=env,
            encoding="utf-8",
            timeout=20,
            dimensions=(60, 130),
        )
        self.seen = ""

    def until(self, pattern: str) -> str:
        """Read until a pattern has come; return the text since the last time up to its end."""
        while True:
            text = ESCAPES.sub("", self.seen)
            if found := re.search(pattern, text):
                self.seen = text[found.end() :]
                return text[: found.end()]
            try:
                self.seen += self.child.read_nonblocking(4096, timeout=20)
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                raise AssertionError(f"{pattern!r} never came; there was:\n{text}") from error

    def do(self, line: str, then: str = r"\]: $") -> str:
        """Type a line and return what was answered, up to the next prompt."""
        self.child.send(line + "\r")
        self.until(re.escape(line))
        return self.until(then)


def machines_up(place: Path) -> None:
    (place / "home").mkdir(exist_ok=True)
    (place / "home/paper.json").write_text('{"ml-0": "running", "ml-1": "running"}')


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with a config file and a job."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.ini").write_text("[cluster]\ncount = 2\n[job]\nrun = job\n")
    (tmp_path / "job").mkdir()
    (tmp_path / "job/job.ini").write_text("[job]\nsingle = true\n")
    return tmp_path


@pytest.fixture
def sitting(place: Path, request: Any) -> Iterator[Sitting]:
    """A shell at its first prompt, two machines up unless the mark ``alone`` says otherwise."""
    bad = getattr(request, "param", "")
    if bad != "alone":
        machines_up(place)
    found = Sitting(place, bad)
    yield found
    found.child.close(force=True)


@pytest.mark.parametrize("sitting", ["alone"], indirect=True)
def test_a_whole_sitting(sitting: Sitting) -> None:
    banner = sitting.until(NONE)
    assert re.search(r"Stratus 0\.\S+  aws  us-west-2  cluster ml  config config/config.ini", banner)
    assert "Verbs: LaunchInstances InstallDeps" in banner

    asked = sitting.do("LaunchInstances(2)", r"Launch\? \[Y/n\] $")
    assert "at most $5.84 if you forget it (ends itself after 8 h)" in asked
    assert "2 of 2 ready in 3.9 s." in sitting.do("", UP)

    assert "Next: RunSingleVMComputing()" in sitting.do("InstallDeps()")
    assert "  | scene 3/3" in sitting.do("RunMultiVMComputing()")
    assert "cost $0.02" in sitting.do("FetchResults()")
    assert "0 instances running. This cluster cost $0.02." in sitting.do("TerminateAll()", NONE)

    sitting.child.send("exit\r")
    sitting.child.expect(pexpect.EOF)
    sitting.child.close()
    assert sitting.child.exitstatus == 0


def test_what_is_up_is_said_at_the_first_prompt_and_on_leaving(sitting: Sitting) -> None:
    sitting.until(r"2 up, \$0\.73/h, .* They end themselves at .* \(in 7 h\)")

    sitting.child.send("exit\r")
    sitting.child.expect(pexpect.EOF)
    farewell = ESCAPES.sub("", sitting.child.before)
    assert re.search(r"2 instances still run: \$0\.73/h, they end themselves at ", farewell)
    assert "TerminateAll from any shell:  stratus terminate" in farewell


def test_machines_that_were_stopped_and_forgotten_are_reminded_of_at_each_start(place: Path) -> None:
    """They are longer asleep than max_hours; nothing but a person ends them."""
    machines_up(place)
    (place / "home/paper.json").write_text('{"ml-0": "running", "ml-1": "stopped"}')
    for _ in range(2):
        sitting = Sitting(place)
        try:
            sitting.until(r"ml-1 has been stopped for 3 d 2 h \(max_hours is 8 h\): \$5\.84 a month for its disk")
            sitting.until(r"TerminateAll\(\) ends it")
        finally:
            sitting.child.close(force=True)


def test_names_answers_and_mistakes_at_the_prompt(sitting: Sitting) -> None:
    sitting.until(UP)

    assert "type LaunchInstances()" in sitting.do("LaunchInstances")
    assert "Call: LaunchInstances(n=None, *, yes=False)" in sitting.do("LaunchInstances?")
    assert "Show the settings" in sitting.do("Help()")
    mistake = sitting.do("Attach('nothing')")
    assert "no run 'nothing' here" in mistake
    assert "Traceback" not in mistake
    misspelt = sitting.do("LaunchInstnces()")
    assert "LaunchInstnces: no such verb. Did you mean LaunchInstances?" in misspelt
    assert "Traceback" not in misspelt
    assert "Traceback" in sitting.do("of_ones_own")

    # An answer that is kept is not shown twice, and is shown again when it is named.
    assert sitting.do("s = Status()").count("ml-1  running") == 1
    assert "Out[" not in sitting.do("s")
    assert "ml-1  running" in sitting.do("s")
    assert "42" in sitting.do("40 + 2")

    sitting.do("%reset -f")
    assert "2 up, $0.73/h" in sitting.do("CheckStatus()")


@pytest.mark.slow
def test_tab_knows_hosts_and_runs(sitting: Sitting, place: Path) -> None:
    (place / "runs/20261120-1412-k3").mkdir(parents=True)
    (place / "runs/20261120-1412-k3/record.json").write_text("{}")
    sitting.until(UP)

    sitting.child.send("LaunchIn\t")
    sitting.until("LaunchInstances")
    sitting.child.send("\x15")
    sitting.child.send('Ssh("ml-\t')
    sitting.until("ml-0(.|\n)*ml-1")
    sitting.child.send("\x15")
    sitting.child.send('Attach("k\t')
    sitting.until(re.escape('Attach("20261120-1412-k3'))


@pytest.mark.parametrize("sitting", ["slow-job"], indirect=True)
def test_ctrl_c_on_a_job_asks_what_to_do_and_watching_goes_on_where_it_was(sitting: Sitting) -> None:
    sitting.until(UP)
    sitting.do("RunSingleVMComputing()", "scene 3/200")
    sitting.child.send("\x03")
    sitting.until(r"Leave it running, cancel it, or keep watching\?  \[l/c/W\] $")
    more = sitting.do("w", r"scene \d+/200\n(.|\n)*scene \d+/200\n")
    assert "scene 1/200" not in more

    sitting.child.send("\x03")
    sitting.until(r"\[l/c/W\] $")
    assert 'It runs on. Attach("k3") comes back to it.' in sitting.do("l")

    sitting.do("Attach()", "scene 3/200")
    sitting.child.send("\x03")
    sitting.until(r"\[l/c/W\] $")
    assert "cancelled: no process left on 2 hosts." in sitting.do("c")


def test_a_config_that_changes_is_read_again_and_mistakes_leave_the_old_settings(sitting: Sitting, place: Path) -> None:
    sitting.until(UP)
    config = place / "config/config.ini"

    config.write_text("[cluster]\ncuont = 3\n[job]\nrun = job\n")
    answer = sitting.do("LaunchInstances()", r"Launch\? \[Y/n\] $")
    assert "config/config.ini:2: [cluster] cuont: no such setting. Did you mean count?" in answer
    assert "1 mistake. The settings from before stay." in answer
    assert "2 x c7i.2xlarge" in answer
    assert "Nothing was launched." in sitting.do("n")

    config.write_text("[cluster]\ncount = 3\n[job]\nrun = job\n")
    assert "3 x c7i.2xlarge" in sitting.do("LaunchInstances()", r"Launch\? \[Y/n\] $")


@pytest.mark.parametrize("sitting", ["bug"], indirect=True)
def test_an_unforeseen_error_is_a_line_and_the_prompt_lives_on(sitting: Sitting, place: Path) -> None:
    first = sitting.until(r"\]: $")
    if "nobody foresaw" not in first:
        sitting.until("nobody foresaw")

    answer = sitting.do("Status()")
    assert "KeyError: 'nobody foresaw this' (a bug in Stratus)" in answer
    assert "Traceback" not in answer
    assert (place / "home/last-error.txt").exists()


def test_a_config_with_mistakes_opens_no_shell(place: Path) -> None:
    (place / "config/config.ini").write_text("[cluster]\ncuont = 3\n")
    found = Sitting(place)
    found.child.expect(pexpect.EOF)
    found.child.close()

    assert found.child.exitstatus == 2
    assert "Did you mean count?" in found.child.before


def test_load_ext_gives_the_verbs_to_any_ipython_and_takes_them_away_again(place: Path) -> None:
    script = """
from IPython.core.interactiveshell import InteractiveShell
ip = InteractiveShell.instance()
ip.run_line_magic("load_ext", "orchestrator")
assert "type Status()" in repr(ip.ev("Status"))
ip.run_cell("InstallDeps('a', b=1)")
ip.run_line_magic("reset", "-f")
assert ip.ev("LaunchInstances").__name__ == "LaunchInstances"
ip.run_line_magic("unload_ext", "orchestrator")
assert "Status" not in dir(__import__("builtins"))
"""
    import subprocess

    env = {"PYTHONPATH": str(ROOT), "HOME": str(place), "PATH": "/usr/bin:/bin", "STRATUS_HOME": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "InstallDeps(*names): got an unexpected keyword argument 'b'\n  InstallDeps?  explains it\n"
