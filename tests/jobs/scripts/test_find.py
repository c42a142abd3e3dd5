"""The job that a text names."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs.scripts.find import find
from orchestrator.jobs.scripts.script_job import ScriptJob

NOTEBOOK = '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "1"}]}'


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with scripts, and one beside it."""
    for name in ("train.py", "my script.py", "sub/eval.py", "sub/data.csv", "shell.sh", "a.ipynb", "notes.txt", "tool"):
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTEBOOK if path.suffix == ".ipynb" else "")
    (tmp_path / "here/tool").chmod(0o755)
    (tmp_path / "here/job").mkdir()
    (tmp_path / "here/job/job.ini").write_text("[job]\nsingle = true\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/far.py").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


SCRIPTS = [
    ("train.py", ".", "python train.py"),
    ("train.py --epochs 3", ".", "python train.py --epochs 3"),
    ("  train.py   --out 'a b'  ", ".", "python train.py --out 'a b'"),
    ('train.py --host "$STRATUS_HOST"', ".", 'python train.py --host "$STRATUS_HOST"'),
    ("my script.py --x 1", ".", "python 'my script.py' --x 1"),
    ('"my script.py" --x 1', ".", "python 'my script.py' --x 1"),
    ("sub/eval.py data.csv", "sub", "python eval.py data.csv"),
    ("../other/far.py", "../other", "python far.py"),
    ("shell.sh", ".", "bash shell.sh"),
    ("tool -v", ".", "./tool -v"),
    ("a.ipynb -p epochs 3", ".", 'python "$STRATUS_FOLDER/bin/run_notebook.py" a.ipynb -p epochs 3'),
    ("a.ipynb | tee log", ".", 'python "$STRATUS_FOLDER/bin/run_notebook.py" a.ipynb | tee log'),
    ("python -m pkg.train --lr 1e-3", ".", "python -m pkg.train --lr 1e-3"),
    ("python3.11 -u sub/eval.py", ".", "python3.11 -u sub/eval.py"),
    ("OMP_NUM_THREADS=1 python train.py", ".", "OMP_NUM_THREADS=1 python train.py"),
    ("train.py --tokens " + "x" * 5000, ".", "python train.py --tokens " + "x" * 5000),
]


@pytest.mark.parametrize(("text", "folder", "command"), SCRIPTS, ids=[text[:30] for text, _, _ in SCRIPTS])
def test_a_script_runs_in_its_own_folder_and_a_command_in_the_present_one(text: str, folder: str, command: str) -> None:
    job = find(text)

    assert isinstance(job, ScriptJob)
    assert (job.folder, job.command) == (Path(folder), command)


def test_an_absolute_path_and_the_home_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project / "other"))
    for text in ("~/far.py", str(project / "other/far.py")):
        job = find(text)
        assert isinstance(job, ScriptJob)
        assert (job.folder, job.command) == (project / "other", "python far.py")


def test_a_folder_with_a_job_and_an_ini_file_are_jobs_of_their_own() -> None:
    assert find("job") == Path("job")
    assert find("job/other.ini") == Path("job/other.ini")
    assert find("  ") is None


REFUSED = [
    ("trian.py --x", r"trian\.py: no such script or job here\. Did you mean train\.py\?"),
    ("jbo", r"jbo: no such script or job here\. Did you mean job\?"),
    ("sub/evla.py", r"evla\.py: no such script or job in sub\. Did you mean eval\.py\?"),
    ("nowhere/x.py", r"x\.py: no such script or job in nowhere\."),
    ("python trian.py", r"trian\.py: no such script or job here\. Did you mean train\.py\?"),
    ("python ../other/far.py", "this script is outside"),
    ("notes.txt", "neither executable nor one of"),
    ("sub", "sub: a folder without a job.ini"),
    ("train.py 'unclosed", "no closing quotation"),
    ("train.py\nrm x", "a command is one line"),
    ("sub/eval.py sub/data.csv", r"sub/data\.csv: paths are relative to the script's folder: write data\.csv"),
    ("sub/eval.py --data=sub/data.csv", "write data.csv"),
    ("sub/eval.py notes.txt", r"notes\.txt: not uploaded, it is outside the script's folder"),
    ("~no-such-user/x.py", "no such script or job in"),
    ("b.ipynb -p year 1", r"b\.ipynb: no such notebook here\. In \S+: a\.ipynb\.$"),
    ("a.ipynb -p", "^-p: name and value are missing: -p NAME VALUE"),
    ("a.ipynb -p year", "^-p year: its value is missing: -p NAME VALUE"),
    ("a.ipynb -p lambda 1", "'lambda' is not the name of a variable"),
    ("a.ipynb --foo", "^--foo: no such option of a notebook"),
    ("a.ipynb 2024", "^2024: not a parameter of a notebook"),
    ("nvidia-smi -L", "nvidia-smi: no such script or job here"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:30] for text, _ in REFUSED])
def test_a_text_that_names_no_job_gets_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        find(text)

    assert "\n" not in caught.value.message


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.text("tr ain.py/~\"'\\=-\0\n.", max_size=30))
@example("python")
@example("A=1")
@example("''")
@example("train.py\0")
def test_any_text_is_a_job_or_an_error_of_one_line(text: str) -> None:
    with suppress(UsageError):
        find(text)


def test_a_missing_script_is_compared_without_its_suffix_and_the_folder_is_named(project: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find("sub/tense.py")

    # eval.py has the suffix in common, and nothing else.
    assert str(caught.value) == f"tense.py: no such script or job in sub. In {project / 'here/sub'}: eval.py."


def test_a_folder_without_a_job_is_answered_with_the_verb_that_was_typed() -> None:
    with pytest.raises(UsageError) as caught:
        find("sub", partial(NextStep, "RunMultiVMComputing"))

    assert 'RunMultiVMComputing("sub/eval.py")' in str(caught.value)


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("train.py", "predict.py"), 'TrainOnSageMaker("mine/train.py")  takes a script in it'),
        (("fit.py", "predict.py", "setup.py"), 'TrainOnSageMaker("mine/fit.py")  takes a script in it'),
        (("a.py", "b.py", "predict.py"), "name one of its scripts: a.py, b.py"),
        (("predict.py",), ""),
    ],
)
def test_of_a_folder_without_a_job_file_the_script_that_trains_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], advice: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in names:
        (tmp_path / "mine" / name).touch()

    with pytest.raises(UsageError, match=r"a folder without a job\.ini") as caught:
        find("mine", partial(NextStep, "TrainOnSageMaker"))

    assert str(caught.value.fix) == advice


def test_advice_about_a_missing_script_names_the_verb_that_was_typed(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as on_vms:
        find("no such")
    with pytest.raises(UsageError) as on_sagemaker:
        find("no such", partial(NextStep, "TrainOnSageMaker"))

    assert 'RunCommand("no such")' in str(on_vms.value)
    assert "RunCommand" not in str(on_sagemaker.value)
