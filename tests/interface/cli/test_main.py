"""Exit codes and one-line errors of the command line."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.interface.command_line import FAKE, environment
from tests.support.paths import ROOT

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_session_on_the_command_line(stratus: Stratus) -> None:
    for verb in (["launch", "--yes"], ["install"], ["run", "--multi"], ["fetch"], ["terminate"]):
        done = stratus(*verb)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""

    assert done.stdout.endswith("  0 VMs running. This cluster cost $0.02.\n")


def test_hints_are_commands_with_the_options_that_were_given_before_the_verb(stratus: Stratus) -> None:
    assert "Next: stratus launch\n" in stratus("status").stdout
    launched = stratus("--config", "config/config.ini", "launch", "--yes").stdout
    assert "  stratus --config config/config.ini ssh ml-0 opens a terminal on it." in launched
    assert "Next: stratus --config config/config.ini install\n" in launched


def test_where_no_question_can_be_asked_launch_needs_yes(stratus: Stratus) -> None:
    for verb in ("launch", "experiment"):
        refused = stratus(verb)

        assert refused.returncode == 2
        assert refused.stderr == (
            f"cannot ask for confirmation here. Nothing was launched.\n  stratus {verb} --yes does not ask\n"
        )
        assert "$0.73/h" in refused.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "arguments", "code", "text"),
    [
        ("", ["install"], 2, "no VM is up\n  stratus launch\n"),
        ("", ["frobnicate"], 2, "frobnicate: no such verb."),
        ("", ["statsu"], 2, "statsu: no such verb. Did you mean status?"),
        ("", ["launch", "2"], 2, "unrecognized arguments: 2\n  stratus launch -n 2\n"),
        ("", ["launch", "-n", "0"], 2, "'0' is not a number of VMs"),
        ("", ["status", "--local"], 2, "--local goes before the verb\n  stratus --local status\n"),
        (
            "",
            ["launch", "-n", "2", "--config", "my.ini", "--yes"],
            2,
            "\n  stratus --config my.ini launch -n 2 --yes\n",
        ),
        ("", ["status", "--output", "json", "--local"], 2, "stratus --local status --output json"),
        ("", ["status", "--lcoal"], 2, "unrecognized arguments: --lcoal\n  stratus status --help\n"),
        ("", ["--config", "", "status"], 2, "argument --config: is empty: give it a value, or leave it out\n"),
        (
            "",
            ["terminate", "--yes", "--owner", ""],
            2,
            "--owner is empty: give it a value, or leave it out\n  stratus terminate --help\n",
        ),
        ("", ["run", "--multi", "--host", "ml-0"], 2, "--host does not go with --multi"),
        ("", ["--config", "nowhere.ini", "status"], 2, "nowhere.ini:1: no such file."),
        ("", ["--local", "status"], 2, "python run_interface.py --local status"),
        ("bug", ["status"], 1, "KeyError: 'nobody foresaw this' (a bug in Stratus)"),
    ],
)
def test_an_error_is_a_line_and_an_exit_code_and_never_a_traceback(
    stratus: Stratus, bad: str, arguments: Sequence[str], code: int, text: str
) -> None:
    done = stratus(*arguments, bad=bad)

    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_an_unexpected_error_leaves_its_traceback_in_a_private_file(stratus: Stratus, place: Path) -> None:
    done = stratus("status", bad="bug")
    traceback = place / "home/last-error.txt"

    assert str(traceback) in done.stderr
    assert "Traceback" in traceback.read_text()
    assert traceback.stat().st_mode & 0o077 == 0


def test_without_a_config_file_one_line_names_the_command_that_writes_one(stratus: Stratus, place: Path) -> None:
    shutil.rmtree(place / "config")
    done = stratus("status")

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "no config file here: neither config/config.ini nor config.ini"
    assert done.stderr.splitlines()[1].startswith("  stratus config init  writes one")


def test_all_mistakes_of_the_config_are_reported_with_their_lines(stratus: Stratus, place: Path) -> None:
    (place / "config/config.ini").write_text("[cluster]\ncuont = 2\nmax_hours = long\n")
    done = stratus("launch", "--yes")

    assert done.returncode == 2
    assert "config/config.ini:2: [cluster] cuont: no such setting. Did you mean count?" in done.stderr
    assert "config/config.ini:3:" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["[cluster]\nmax_hours = x", "[install]\nca_bundle = ${NOT_SET}", "[job]\nrun ="])
@pytest.mark.parametrize("verb", ["status", "stop", "recover", "terminate"])
def test_a_mistake_that_does_not_concern_ending_is_shown_and_ends_no_less(
    launched: Stratus, place: Path, verb: str, mistake: str
) -> None:
    (place / "config/config.ini").write_text(f"{mistake}\n")

    done = launched(verb)
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    assert first.startswith("config/config.ini:2: ")
    assert second == "1 mistake. Ending VMs does not need these settings."
    assert launched("launch", "--yes").returncode == 2


@pytest.mark.parametrize("mistake", ["[cluster]\nnmae = x", "[aws]\nregion = x y", "[clutser]\nname = x", "[ssh]\nx"])
def test_a_mistake_in_what_tells_which_vms_to_end_ends_none(launched: Stratus, place: Path, mistake: str) -> None:
    (place / "config/config.ini").write_text(f"{mistake}\n[disk]\nsize = x\n")

    done = launched("terminate")
    assert done.returncode == 2
    assert "1 mistake. Finding and ending VMs needs [cluster] name, owner, owner_id; [aws] region, " in done.stderr
    assert "launched" not in done.stderr


def test_a_failed_job_is_exit_code_1_and_its_last_lines_are_printed_once(launched: Stratus) -> None:
    done = launched("run", bad="job-fails")

    assert done.returncode == 1
    assert done.stderr == "cloud_retrieval on ml-0: failed (exit 3)\n  logs: stratus logs 20261120-1412-k3\n"
    assert "  | scene 3/3\n" in done.stdout


def test_a_host_that_does_not_come_up_is_exit_code_1(stratus: Stratus) -> None:
    done = stratus("launch", "--yes", bad="host-fails")

    assert done.returncode == 1
    assert "ml-1  failed  ssh: no answer for 30 s" in done.stdout
    assert done.stderr == "ml-1 did not come up\n  stratus status shows them; stratus terminate terminates them\n"


def test_what_terminate_leaves_is_listed_with_exit_code_4(launched: Stratus) -> None:
    done = launched("terminate", bad="left")

    assert done.returncode == 4
    assert "i-ml-1 ml-1: OperationNotPermitted" in done.stderr
    assert "0 VMs running" not in done.stdout


def test_terminate_names_the_runs_of_its_vms_that_were_not_fetched(launched: Stratus, place: Path) -> None:
    facts = {
        "20261120-141203-5f8": {"instances": {"ml-0": "i-ml-0"}},
        "20261120-141204-6dm": {"instances": {"ml-0": "i-ml-0", "ml-1": "i-ml-1"}, "fetched": "x", "state": "running"},
        "20261120-141205-abc": {"instances": {"ml-0": "i-ml-0"}, "fetched": "x", "state": "done"},
        "20261120-141206-xyz": {"instances": {"ml-0": "i-of-another-cluster"}},
    }
    for run_id, record in facts.items():
        (place / "runs" / run_id).mkdir(parents=True)
        (place / "runs" / run_id / "record.json").write_text(json.dumps(record))
    done = launched("terminate")

    assert "  Not fetched: 5f8, 6dm. Their results were on the VMs and are deleted.\n" in done.stdout
    assert done.returncode == 0


def test_cancelling_all_jobs_with_something_left_is_exit_code_4_and_a_list(launched: Stratus) -> None:
    well, bad = launched("cancel-all"), launched("killall", bad="left")

    assert (well.returncode, bad.returncode) == (0, 4)
    assert "  ml-1  0 left  cancelled 20261120-1412-k3\n  0 processes left on 2 VMs.\n" in well.stdout
    assert "  ml-1: process 7 of r1: python train.py\n" in bad.stderr


def test_a_command_on_all_vms_names_each_line_and_fails_when_it_fails_anywhere(launched: Stratus) -> None:
    well, bad, none = launched("exec", "--", "df", "-h", "/a b"), launched("exec", "false"), launched("exec")

    assert (well.returncode, well.stdout) == (0, "  ml-0 | df -h '/a b' on ml-0\n  ml-1 | df -h '/a b' on ml-1\n")
    assert (bad.returncode, bad.stderr) == (1, "false: failed on ml-0 ml-1\n")
    assert (none.returncode, none.stderr) == (2, "no command was given\n  stratus exec nvidia-smi\n")


@pytest.mark.usefixtures("launched")
def test_ctrl_c_leaves_the_job_running_with_exit_code_130(place: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", FAKE, "run"],
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
    rest, errors = child.communicate(timeout=20)

    assert child.returncode == 130
    assert rest.endswith("  It keeps running. stratus attach k3 reconnects to it.\n")
    assert errors == ""


@pytest.mark.usefixtures("launched")
def test_a_reader_that_closes_the_pipe_is_no_error(place: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m {FAKE} run | head -1",
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


def test_without_a_verb_a_terminal_or_statements_there_is_nothing_to_do(stratus: Stratus) -> None:
    done = stratus()

    assert done.returncode == 2
    assert done.stderr == "no verb, and no terminal for the shell\n  stratus --help\n"


def test_help_completion_and_manual_import_nothing_heavy() -> None:
    for arguments in (["--help"], ["completion", "bash"], ["launch", "--help"], ["manual"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "orchestrator", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0
        assert not re.search(r"\b(boto3|botocore|fabric|paramiko|IPython|rich|cryptography)\b", done.stderr)
        assert not re.search(r"orchestrator\.(cluster|jobs|aws|session)\b", done.stderr)


def test_python_m_orchestrator_is_the_same_program(stratus: Stratus) -> None:
    assert stratus("--version", module="orchestrator").stdout.startswith("stratus 0.")
    assert "python -m orchestrator --help" in stratus("frob", module="orchestrator").stderr


def test_config_init_writes_a_file_that_loads_and_never_overwrites_one(stratus: Stratus, place: Path) -> None:
    shutil.rmtree(place / "config")

    assert "config/config.ini and the job first_job/ written" in stratus("config", "init").stdout
    assert stratus("config", "check").returncode == 0
    (place / "config/config.ini").unlink()
    kept = stratus("config", "init").stdout.splitlines()[0]
    assert kept == "  config/config.ini written. Its job first_job/ existed already, and stays as it is."
    again = stratus("config", "init")
    assert again.returncode == 2
    assert again.stderr.endswith("exists already and is not overwritten\n  stratus config check  validates it\n")


def test_config_show_tells_the_origin_of_each_value(stratus: Stratus) -> None:
    shown = stratus("config", "show").stdout

    assert re.search(r"\[cluster\] +count +2 +config.ini:2\n", shown)
    assert re.search(r"\[aws\] +region +us-west-2 +default\n", shown)


def test_a_jobs_bytes_are_passed_on_whatever_the_encoding_of_stdout_lacks(launched: Stratus) -> None:
    done = launched("run", bad="umlauts", encoding="latin-1")

    assert done.returncode == 0, done.stderr
    assert "  | K\u00f6ln \u2713\n".encode() in done.stdout.encode("latin-1")


def test_the_load_of_vms_is_a_few_lines_each(launched: Stratus) -> None:
    assert launched("usage", "ml-1").stdout.splitlines() == [
        "  ml-1  load 1.5 on 8 cores   4.0 GB of 16.0 GB memory",
        "    GPU 0  NVIDIA A10G  97% busy  1234 of 23028 MiB  61 \N{DEGREE SIGN}C  pid 42",
        "    20261120-1412-k3  pid 42  99.5% CPU  1.5 GB  python train.py",
    ]


def test_old_commands_still_work(launched: Stratus) -> None:
    assert launched("gpus").stdout == launched("usage").stdout


def test_an_editor_in_the_settings_gets_links_after_a_launch(stratus: Stratus, place: Path) -> None:
    (place / "config/config.ini").write_text("[cluster]\ncount = 1\n[ssh]\neditor = vscode\n[job]\nrun = job\n")
    done = stratus("launch", "--yes")

    assert "  vscode://vscode-remote/ssh-remote+ml-0/home/ubuntu\n" in done.stdout
    assert "  stratus ssh-config --install makes the links work.\n" in done.stdout


def test_ssh_config_shows_how_the_vms_are_reached(launched: Stratus) -> None:
    plain, installed = launched("ssh-config"), launched("ssh-config", "--install")

    assert "  ssh -F home/ssh/config ml-0  opens a terminal.\n" in plain.stdout
    assert "  stratus ssh-config --install lets ssh ml-0, scp, rsync and editors find it.\n" in plain.stdout
    assert "  config includes home/ssh/config: ssh, scp and rsync know these names.\n" in installed.stdout
    assert "  cursor://vscode-remote/ssh-remote+ml-1/home/ubuntu\n" in installed.stdout
    both = launched("ssh-config", "--install", "--remove")
    assert (both.returncode, both.stderr.splitlines()[0]) == (2, "install and remove exclude each other")
