"""The shell as a person uses it: real IPython on a real terminal, a fake session behind it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.interface import children
from tests.support.interface.command_line import have_two_vms
from tests.support.interface.shell_process import ESCAPES, ShellProcess
from tests.support.paths import ROOT

pexpect = pytest.importorskip("pexpect")

# A prompt that changes is redrawn only where it differs, so its beginning may have come earlier.
UP = r"2 up \$0\.73/h\]:\s*$"
NONE = r"0 up\]:\s*$"


MISTYPED = {
    "exti": "exti: no such verb. Did you mean exit?",
    "Launch(2)": "Launch: no such verb. Did you mean LaunchInstances()?",
    "launch": "launch: no such verb. Did you mean LaunchInstances()?",
    "launch -n 2": "launch -n 2: not Python. Here a verb is a function, such as LaunchInstances(2)",
    "Nope()": "Nope: no such verb or name.  Help()  lists the verbs",
}


@pytest.fixture
def shell(place: Path, request: Any) -> Iterator[ShellProcess]:
    """A shell at its first prompt, with two VMs up unless the parameter is ``alone``."""
    bad = getattr(request, "param", "")
    if bad != "alone":
        have_two_vms(place)
    process = ShellProcess(place, bad)
    yield process
    children.end(process.child)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["alone"], indirect=True)
def test_a_whole_session(shell: ShellProcess) -> None:
    banner = shell.until(NONE)
    assert re.search(r"Stratus 0\.\S+  aws  us-west-2  cluster ml  config config/config.ini", banner)
    assert "Verbs: LaunchInstances InstallDeps" in banner

    asked = shell.do("LaunchInstances(2)", r"Launch\? \[Y/n\] $")
    assert "at most $5.84 if you forget it (shuts down automatically after 8 h)" in asked
    assert "2 of 2 ready in 3.9 s." in shell.do("", UP)

    assert "Next: RunSingleVMComputing()" in shell.do("InstallDeps()")
    assert "  | scene 3/3" in shell.do("RunMultiVMComputing()")
    assert "cost $0.02" in shell.do("FetchResults()")
    assert "0 VMs running. This cluster cost $0.02." in shell.do("TerminateAll()", NONE)

    shell.child.send("exit\r")
    shell.child.expect(pexpect.EOF)
    shell.child.close()
    assert shell.child.exitstatus == 0


def test_ctrl_c_at_the_prompt_of_a_dumb_terminal_is_a_new_prompt(place: Path) -> None:
    process = ShellProcess(place, term="dumb")
    process.until(r"\]: $")
    process.child.send("Launch\x03")

    assert "escaped" not in process.until(r"\]: $")
    assert "Next: LaunchInstances()" in process.do("Status()")
    children.end(process.child)


def test_what_is_up_is_shown_at_the_first_prompt_and_on_leaving(shell: ShellProcess) -> None:
    shell.until(r"2 up, \$0\.73/h, .* They shut down automatically (on [A-Z][a-z]+ \d+ )?at .* \(in 7 h\)")

    shell.child.send("exit\r")
    shell.child.expect(pexpect.EOF)
    farewell = ESCAPES.sub("", shell.child.before)
    assert re.search(
        r"2 VMs are still running: \$0\.73/h\. They shut down automatically (on [A-Z][a-z]+ \d+ )?at ", farewell
    )
    assert "To terminate from any shell:  stratus terminate" in farewell


@pytest.mark.slow
def test_vms_that_were_stopped_and_forgotten_are_reminded_of_at_each_start(place: Path) -> None:
    """They have been stopped for longer than max_hours, and have no timer."""
    have_two_vms(place)
    (place / "home/vms.json").write_text('{"ml-0": "running", "ml-1": "stopped"}')
    for _ in range(2):
        shell = ShellProcess(place)
        try:
            shell.until(r"ml-1 has been stopped for 3 d 2 h \(max_hours is 8 h\): \$5\.84 a month for its disk")
            shell.until(r"TerminateAll\(\) terminates it")
        finally:
            children.end(shell.child)


def test_names_answers_and_mistakes_at_the_prompt(shell: ShellProcess) -> None:
    shell.until(UP)

    assert "type LaunchInstances()" in shell.do("LaunchInstances")
    assert "Call: LaunchInstances(n=None, *, yes=False)" in shell.do("LaunchInstances?")
    assert "Show, check or create the config file" in shell.do("Help()")
    assert "Show, check or create the config file" in shell.do("help")
    mistake = shell.do("Attach('nothing')")
    assert "no run 'nothing' here" in mistake
    assert "Traceback" not in mistake
    misspelt = shell.do("LaunchInstnces()")
    assert "LaunchInstnces: no such verb. Did you mean LaunchInstances()?" in misspelt
    assert "Traceback" not in misspelt
    assert "Traceback" in shell.do("of_ones_own")
    for typed, answer in MISTYPED.items():
        text = shell.do(typed)
        assert answer in text
        assert "Error" not in text

    # An answer that is kept is not shown twice, and is shown again when it is named.
    assert shell.do("s = Status()").count("ml-1  running") == 1
    assert "Out[" not in shell.do("s")
    assert "ml-1  running" in shell.do("s")
    assert "42" in shell.do("40 + 2")

    shell.do("%reset -f")
    assert "2 up, $0.73/h" in shell.do("CheckStatus()")


def test_an_experiment_shows_its_vms_in_a_table_and_then_the_jobs_lines(shell: ShellProcess) -> None:
    shell.until(UP)
    shell.child.send("RunExperiment(multi=True, n=2, yes=True)\r")
    text = shell.until(r"0 VMs running")

    # Steps as LaunchInstances() shows them, which leaves nothing of the table, and no line per change.
    assert "pending  done" not in text
    assert "cloud_retrieval on ml-0 (scheduler)" in text
    assert "terminated" in text


@pytest.mark.slow
def test_tab_knows_hosts_and_runs(shell: ShellProcess, place: Path) -> None:
    (place / "runs/20261120-1412-k3").mkdir(parents=True)
    (place / "runs/20261120-1412-k3/record.json").write_text("{}")
    shell.until(UP)

    shell.complete("LaunchIn", "stances")
    shell.complete('Ssh("ml-', "ml-0(.|\n)*ml-1")
    shell.complete('Recover("t', "erminate")
    shell.complete('Config("ch', "eck")
    shell.complete('Attach("k', "20261120-1412-k3")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["slow-job"], indirect=True)
def test_ctrl_c_on_a_job_asks_what_to_do_and_watching_goes_on_where_it_was(shell: ShellProcess) -> None:
    shell.until(UP)
    shell.do("RunSingleVMComputing()", "scene 3/200")
    shell.child.send("\x03")
    shell.until(r"Leave it running, cancel it, or keep watching\?  \[l/c/W\] $")
    more = shell.do("w", r"scene \d+/200  cloudy\n(.|\n)*scene \d+/200  cloudy\n")
    assert "scene 1/200" not in more

    shell.child.send("\x03")
    shell.until(r"\[l/c/W\] $")
    assert 'It keeps running. Attach("k3") reconnects to it.' in shell.do("l")

    shell.do("Attach()", "scene 3/200")
    shell.child.send("\x03")
    shell.until(r"\[l/c/W\] $")
    assert "cancelled: no process left on 2 VMs." in shell.do("c")


def test_a_changed_config_is_read_again_and_mistakes_leave_the_old_settings(shell: ShellProcess, place: Path) -> None:
    shell.until(UP)
    config = place / "config/config.ini"

    config.write_text("[cluster]\ncuont = 3\n[job]\nrun = job\n")
    answer = shell.do("LaunchInstances()", r"Launch\? \[Y/n\] $")
    assert "config/config.ini:2: [cluster] cuont: no such setting. Did you mean count?" in answer
    assert "1 mistake. The earlier settings stay." in answer
    assert "2 x c7i.2xlarge" in answer
    assert "Nothing was launched." in shell.do("n")

    config.write_text("[cluster]\ncount = 3\n[job]\nrun = job\n")
    assert "3 x c7i.2xlarge" in shell.do("LaunchInstances()", r"Launch\? \[Y/n\] $")


@pytest.mark.parametrize("shell", ["no-job"], indirect=True)
def test_an_empty_line_launches_nothing_when_the_job_cannot_be_installed(shell: ShellProcess) -> None:
    shell.until(UP)
    shell.do("LaunchInstances(1)", r"Launch\? \[y/N\] $")

    assert "Nothing was launched." in shell.do("")


@pytest.mark.parametrize("shell", ["bug"], indirect=True)
def test_an_unexpected_error_is_a_line_and_the_prompt_lives_on(shell: ShellProcess, place: Path) -> None:
    first = shell.until(r"\]: $")
    if "nobody foresaw" not in first:
        shell.until("nobody foresaw")

    answer = shell.do("Status()")
    assert "KeyError: 'nobody foresaw this' (a bug in Stratus)" in answer
    assert "Traceback" not in answer
    assert (place / "home/last-error.txt").exists()


def test_a_config_with_mistakes_opens_no_shell(place: Path) -> None:
    (place / "config/config.ini").write_text("[cluster]\ncuont = 3\n")
    process = ShellProcess(place)
    process.child.expect(pexpect.EOF)
    process.child.close()

    assert process.child.exitstatus == 2
    assert "Did you mean count?" in process.child.before


def test_without_a_config_no_shell_opens_and_the_hint_is_a_command(place: Path) -> None:
    """The call of a verb could not be typed anywhere."""
    (place / "config/config.ini").unlink()
    process = ShellProcess(place)
    process.child.expect(pexpect.EOF)
    process.child.close()

    assert process.child.exitstatus == 2
    assert "stratus config init" in process.child.before


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
    message = "InstallDeps(*hosts, job=''): got an unexpected keyword argument 'b'"
    assert done.stderr == f"{message}\n  InstallDeps?  explains it\n"
