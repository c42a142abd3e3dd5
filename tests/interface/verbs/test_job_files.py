"""Scripts in the place of a job, as a user types them; on the session of tests/support/interface/fake_session.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.interface.command_line import have_two_vms, make_workplace, run_stratus


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a script, and two VMs."""
    make_workplace(tmp_path)
    have_two_vms(tmp_path)
    (tmp_path / "train.py").write_text("print(1)\n")
    return tmp_path


def test_a_script_is_run_and_a_misspelled_one_gets_one_line(folder: Path) -> None:
    done = run_stratus(folder, "run", "train.py --epochs 3")
    misspelled = run_stratus(folder, "run", "trian.py")
    separate = run_stratus(folder, "run", "train.py", "--epochs", "3")

    assert (done.returncode, done.stderr) == (0, "")
    assert (misspelled.returncode, misspelled.stderr) == (
        2,
        "trian.py: no such script or job here. Did you mean train.py?\n",
    )
    assert separate.stderr == (
        "unrecognized arguments: --epochs 3\n  stratus run 'train.py --epochs 3'   passes them to the script\n"
    )


def test_job_init_writes_a_job_that_runs_and_never_overwrites(folder: Path) -> None:
    written = run_stratus(folder, "job", "init", "train.py --epochs 3")
    again = run_stratus(folder, "job", "init", "train.py")
    run = run_stratus(folder, "run", ".")
    shown = run_stratus(folder, "job", "show", "train.py", "--output", "json")

    assert written.stdout == "  job.ini written.  Next: stratus run .\n"
    assert "single = python train.py --epochs 3\n" in (folder / "job.ini").read_text()
    assert (again.returncode, again.stderr) == (
        2,
        "job.ini exists already and is not overwritten\n  stratus run .  runs it\n",
    )
    assert run.returncode == 0
    assert "single = python train.py\n" in json.loads(shown.stdout)["text"]


def test_a_large_folder_is_named_with_its_size_and_uploaded_on_request_only(folder: Path) -> None:
    with (folder / "scenes.h5").open("wb") as file:
        file.truncate(10 << 30)
    refused = run_stratus(folder, "run", "train.py")
    script = run_stratus(folder, "-c", "RunSingleVMComputing('train.py')")

    assert f"{folder} is uploaded with the script: 10.7 GB in" in refused.stdout
    assert "(scenes.h5 10.7 GB" in refused.stdout
    assert refused.returncode == 2
    assert refused.stderr.startswith("Nothing was uploaded.\n  stratus job init train.py  writes a job.ini")
    assert script.returncode == 0


def test_an_experiment_with_a_script_asks_once_and_repeats_its_call_in_the_hint(folder: Path) -> None:
    refused = run_stratus(folder, "experiment", "train.py --epochs 3", "-n", "2")
    done = run_stratus(folder, "experiment", "train.py", "-n", "2", "--yes")

    assert refused.stderr.endswith("  stratus experiment -n 2 --yes 'train.py --epochs 3' does not ask\n")
    assert done.returncode == 0
