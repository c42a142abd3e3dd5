"""The command line as scripts meet it: exit codes, one JSON document, one-line errors. On a session of paper."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.interface.cli import completion, dispatch, main, parser
from orchestrator.interface.shell import prompt_verbs
from orchestrator.interface.verbs import registry
from tests.support.paths import ROOT

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with a config file and a job."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.ini").write_text("[cluster]\ncount = 2\n[job]\nrun = job\n")
    (tmp_path / "job").mkdir()
    (tmp_path / "job/job.ini").write_text("[job]\nsingle = true\n")
    return tmp_path


def environment(place: Path, **more: str) -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return keep | {"PYTHONPATH": str(ROOT), "STRATUS_HOME": str(place / "home"), "TERM": "dumb"} | more


@pytest.fixture
def stratus(place: Path) -> Stratus:
    """Run ``stratus`` with these words; ``bad`` makes the day a bad one."""

    def run(
        *arguments: str,
        bad: str = "",
        stdin: str = "",
        encoding: str = "utf-8",
        module: str = "tests.support.fake_session",
    ) -> Any:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=place,
            env=environment(place, PAPER=bad, PYTHONIOENCODING=encoding),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def launched(place: Path, stratus: Stratus) -> Stratus:
    """The same, with two machines up."""
    (place / "home").mkdir()
    (place / "home/paper.json").write_text('{"ml-0": "running", "ml-1": "running"}')
    return stratus


def test_a_sitting_on_the_command_line(stratus: Stratus) -> None:
    for verb in (["launch", "--yes"], ["install"], ["run", "--multi"], ["fetch"], ["terminate"]):
        done = stratus(*verb)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""

    assert done.stdout.endswith("  0 instances running. This cluster cost $0.02.\n")


def test_hints_are_commands_here(stratus: Stratus) -> None:
    assert "Next: stratus launch" in stratus("status").stdout
    assert (
        "Next: stratus --config config/config.ini install"
        in stratus("--config", "config/config.ini", "launch", "--yes").stdout
    )


def test_where_nobody_can_agree_to_the_price_launch_needs_yes(stratus: Stratus) -> None:
    for verb in ("launch", "experiment"):
        refused = stratus(verb)

        assert refused.returncode == 2
        assert refused.stderr == "nobody is here to agree to the price. Nothing was launched.\n  add --yes to agree\n"
        assert "$0.73/h" in refused.stdout


@pytest.mark.parametrize(
    ("bad", "arguments", "code", "words_said"),
    [
        ("", ["install"], 2, "no host is up\n  stratus launch\n"),
        ("", ["frobnicate"], 2, "frobnicate: no such verb."),
        ("", ["statsu"], 2, "statsu: no such verb. Did you mean status?"),
        ("", ["launch", "-n", "0"], 2, "'0' is no number of VMs"),
        ("", ["status", "--local"], 2, "--local goes before the verb\n  stratus --local ... VERB\n"),
        ("", ["run", "--multi", "--host", "ml-0"], 2, "--host names one VM"),
        ("", ["--config", "nowhere.ini", "status"], 2, "nowhere.ini:1: no such file."),
        ("", ["--local", "status"], 2, "python run_interface.py --local status"),
        ("bug", ["status"], 1, "KeyError: 'nobody foresaw this' (a bug in Stratus)"),
    ],
)
def test_an_error_is_a_line_and_an_exit_code_and_never_a_traceback(
    stratus: Stratus, bad: str, arguments: Sequence[str], code: int, words_said: str
) -> None:
    done = stratus(*arguments, bad=bad)

    assert done.returncode == code
    assert words_said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_an_unforeseen_error_leaves_its_traceback_in_a_private_file(stratus: Stratus, place: Path) -> None:
    done = stratus("status", bad="bug")
    kept = place / "home/last-error.txt"

    assert str(kept) in done.stderr
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_no_config_file_is_one_line_that_says_how_to_get_one(stratus: Stratus, place: Path) -> None:
    shutil.rmtree(place / "config")
    done = stratus("status")

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "no config file here: neither config/config.ini nor config.ini"
    assert "stratus config init" in done.stderr


def test_every_mistake_of_the_config_is_told_at_once_with_its_line(stratus: Stratus, place: Path) -> None:
    (place / "config/config.ini").write_text("[cluster]\ncuont = 2\nmax_hours = long\n")
    done = stratus("launch", "--yes")

    assert done.returncode == 2
    assert "config/config.ini:2: [cluster] cuont: no such setting. Did you mean count?" in done.stderr
    assert "config/config.ini:3:" in done.stderr


def test_a_failed_job_is_exit_code_1_and_its_last_lines_are_not_said_twice(launched: Stratus) -> None:
    done = launched("run", bad="job-fails")

    assert done.returncode == 1
    assert done.stderr == "cloud_retrieval on ml-0: failed (exit 3)\n  logs: stratus logs 20261120-1412-k3\n"
    assert "  | scene 3/3\n" in done.stdout


def test_a_host_that_does_not_come_up_is_exit_code_1(stratus: Stratus) -> None:
    done = stratus("launch", "--yes", bad="host-fails")

    assert done.returncode == 1
    assert "ml-1  failed  ssh: no answer for 30 s" in done.stdout
    assert "ml-1 did not come up" in done.stderr


def test_what_terminate_leaves_is_listed_with_exit_code_4(launched: Stratus) -> None:
    done = launched("terminate", bad="left")

    assert done.returncode == 4
    assert "i-ml-1 ml-1: OperationNotPermitted" in done.stderr
    assert "0 instances running" not in done.stdout


@pytest.mark.parametrize(
    "verb",
    [
        ["launch", "--yes"],
        ["status"],
        ["install"],
        ["run"],
        ["run", "--detach"],
        ["runs"],
        ["logs"],
        ["fetch"],
        ["cost"],
        ["cancel"],
        ["stop"],
        ["start"],
        ["config", "check"],
        ["config", "show"],
        ["config", "template"],
        ["terminate"],
        ["experiment", "--yes"],
        ["attach"],
        ["killall"],
        ["gpus"],
        ["gpus", "ml-1"],
        ["exec", "--", "nvidia-smi", "-L"],
    ],
    ids=" ".join,
)
def test_json_is_one_document_on_stdout_and_words_go_to_stderr(launched: Stratus, verb: list[str]) -> None:
    done = launched("--output", "json", *verb)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is not None


def test_a_command_on_all_machines_names_each_line_and_fails_when_it_fails_anywhere(launched: Stratus) -> None:
    well, bad, one = launched("exec", "--", "df", "-h", "/a b"), launched("exec", "false"), launched("exec")

    assert (well.returncode, well.stdout) == (0, "  ml-0 | df -h '/a b' on ml-0\n  ml-1 | df -h '/a b' on ml-1\n")
    assert (bad.returncode, bad.stderr) == (1, "false: failed on ml-0 ml-1\n")
    assert (one.returncode, one.stderr) == (2, "which command?\n  stratus exec nvidia-smi\n")


def test_an_end_to_all_runs_that_leaves_something_is_exit_code_4_and_a_list(launched: Stratus) -> None:
    well, bad = launched("killall"), launched("killall", bad="left")

    assert (well.returncode, bad.returncode) == (0, 4)
    assert "  ml-1  0 left  ended 20261120-1412-k3\n  0 left on 2 hosts.\n" in well.stdout
    assert "  ml-1: process 7 of r1: python train.py\n" in bad.stderr


def test_what_machines_are_doing_is_a_few_lines_each(launched: Stratus) -> None:
    assert launched("gpus", "ml-1").stdout.splitlines() == [
        "  ml-1  load 1.5 on 8 cores   4.0 GB of 16.0 GB memory",
        "    GPU 0  NVIDIA A10G  97% busy  1234 of 23028 MiB  61 \N{DEGREE SIGN}C  pid 42",
        "    20261120-1412-k3  pid 42  99.5% CPU  1.5 GB  python train.py",
    ]


def test_output_may_be_chosen_after_the_verb_as_well(launched: Stratus) -> None:
    assert json.loads(launched("status", "--output", "json").stdout)["usd_per_hour"] == "0.73"


def test_an_error_is_a_document_too_with_all_that_was_achieved(launched: Stratus) -> None:
    failed = launched("--output", "json", "run", bad="job-fails")
    left = launched("terminate", "--output=json", bad="left")
    wrong = launched("frob", "--output", "json")

    assert json.loads(failed.stdout)["exit_status"] == 3
    assert json.loads(failed.stdout)["tail"] == ["oh"]
    assert json.loads(failed.stdout)["run"] == "20261120-1412-k3"
    assert json.loads(left.stdout)["exit_code"] == 4
    assert json.loads(wrong.stdout)["error"] == "UsageError"


@pytest.mark.usefixtures("launched")
def test_ctrl_c_leaves_the_job_running_and_says_so_with_exit_code_130(place: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_session", "run"],
        cwd=place,
        env=environment(place, PAPER="slow-job"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    while "scene 2" not in child.stdout.readline():
        pass
    child.send_signal(signal.SIGINT)
    rest, complaint = child.communicate(timeout=20)

    assert child.returncode == 130
    assert rest.endswith("  It runs on. stratus attach k3 comes back to it.\n")
    assert "Traceback" not in complaint


@pytest.mark.usefixtures("launched")
def test_a_reader_that_goes_away_is_no_error(place: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m tests.support.fake_session run | head -1",
        shell=True,
        cwd=place,
        env=environment(place, PAPER="slow-job"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


def test_ssh_runs_a_command_and_returns_its_exit_status(launched: Stratus) -> None:

    assert launched("ssh", "ml-0", "--", "nvidia-smi", "-L").stdout == "on ['ml-0', 'nvidia-smi', '-L']\n"
    assert launched("ssh", "ml-9").returncode == 2


def test_statements_run_without_a_prompt_and_stop_at_the_first_error(stratus: Stratus) -> None:
    done = stratus("-c", "LaunchInstances(2); InstallDeps(); print(len(Status().instances), 'machines')")
    failed = stratus("-c", "RunSingleVMComputing(); print('not reached')", bad="job-fails")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2 machines\n")
    assert failed.returncode == 1
    assert "not reached" not in failed.stdout


def test_without_a_verb_a_terminal_or_statements_there_is_nothing_to_do(stratus: Stratus) -> None:
    done = stratus()

    assert done.returncode == 2
    assert done.stderr == "no verb, and no terminal for the shell\n  stratus --help\n"


def test_what_a_terminal_cannot_show_does_not_end_the_output(launched: Stratus) -> None:
    done = launched("run", bad="umlauts", encoding="ascii")

    assert done.returncode == 0, done.stderr
    assert "  | K?ln ?\n" in done.stdout


def test_statements_may_come_through_a_pipe(stratus: Stratus) -> None:
    assert "0 instances of cluster ml" in stratus(stdin="Status()\n").stdout


@pytest.mark.parametrize(
    ("statements", "code", "said"),
    [
        ("LaunchInstances(1, 2, 3)", 2, "LaunchInstances(n=None, *, yes=False): too many positional arguments"),
        ("LaunchInstances(0)", 2, "n = 0: how many VMs?"),
        ("f(", 2, "statements line 1: '(' was never closed"),
        ("1/0", 1, "ZeroDivisionError: division by zero"),
        ("Help('Lunch')", 2, "Lunch: no such verb."),
        ("import sys; sys.exit(7)", 7, ""),
    ],
)
def test_mistakes_in_statements_are_told_for_what_they_are(
    stratus: Stratus, statements: str, code: int, said: str
) -> None:
    done = stratus("-c", statements)

    assert done.returncode == code
    assert said in done.stderr


def test_config_init_writes_a_file_that_loads_and_never_overwrites_one(stratus: Stratus, place: Path) -> None:
    shutil.rmtree(place / "config")
    (place / "examples").mkdir()
    shutil.copytree(place / "job", place / "examples/cloud_retrieval")

    assert stratus("config", "init").returncode == 0
    assert stratus("config", "check").returncode == 0
    again = stratus("config", "init")
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_config_show_says_where_each_value_comes_from(stratus: Stratus) -> None:
    shown = stratus("config", "show").stdout

    assert re.search(r"\[cluster\] +count +2 +config.ini:2\n", shown)
    assert re.search(r"\[aws\] +region +us-west-2 +default\n", shown)


def test_help_and_completion_cost_no_heavy_import() -> None:
    for arguments in (["--help"], ["completion", "bash"], ["launch", "--help"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "orchestrator", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0
        assert not re.search(r"\b(boto3|botocore|fabric|paramiko|IPython|rich|cryptography)\b", done.stderr)


def test_python_m_orchestrator_is_the_same_program(stratus: Stratus) -> None:
    assert stratus("--version", module="orchestrator").stdout.startswith("stratus 0.")
    assert "python -m orchestrator launch" in stratus("install", module="tests.support.fake_session").stderr.replace(
        "stratus launch", "python -m orchestrator launch"
    )


def test_every_verb_of_the_shell_is_a_command_and_has_help() -> None:
    helped = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    ).stdout
    for command in registry.COMMANDS.values():
        assert re.search(rf"^    {command.split()[0]} ", helped, re.MULTILINE), command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_one_that_its_shell_can_read(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(completion.script(shell, parser.parser()))
    if shutil.which(shell) is None:
        assert "terminate" in script.read_text()
        return
    assert subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, timeout=20).stderr == ""


def test_bash_completes_verbs_and_their_options(tmp_path: Path) -> None:
    script = tmp_path / "stratus.bash"
    script.write_text(completion.script("bash", parser.parser()))

    def completed(*typed: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in typed)
        ask = f'source {script}; COMP_WORDS=({line}); COMP_CWORD={len(typed) - 1}; _stratus; echo "${{COMPREPLY[@]}}"'
        return set(subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=20).stdout.split())

    assert completed("stratus", "ter") == {"terminate"}
    assert completed("stratus", "--config", "x.ini", "run", "--m") == {"--multi"}
    assert completed("stratus", "config", "ch") == {"check"}
    assert completed("stratus", "--output", "") == {"text", "json"}


@pytest.mark.parametrize(
    ("argv", "at"),
    [([], 0), (["--local", "status"], 1), (["--config", "f", "--local", "run", "--local"], 3), (["-c", "x"], 2)],
)
def test_where_the_verb_begins(argv: list[str], at: int) -> None:
    assert main.verb_at(argv) == at


def test_shell_and_command_line_have_the_same_verbs() -> None:
    assert set(registry.COMMANDS) == set(prompt_verbs.METHODS)
    assert {command.split()[0] for command in registry.COMMANDS.values()} <= set(dispatch.COMMANDS)
