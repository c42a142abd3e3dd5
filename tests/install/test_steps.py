"""Install steps as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.settings import InstallSettings
from orchestrator.core.errors import UsageError
from orchestrator.install.steps import Step, build_arguments, images_to_pull, install_plan, run_plan
from orchestrator.jobs.spec import load
from tests.support.jobs.job_folder import write_container_job


def test_build_arguments_travel_in_a_file_and_pips_options_are_one_of_them(tmp_path: Path) -> None:
    """Arguments of a command could be read by every user of the host."""
    options = InstallSettings(build_args="BASE=me/base:1 NOTE='a b'", pip_options="--index-url https://me:secret@host/")
    plan = install_plan(load(write_container_job(tmp_path / "job"), {}), options)

    assert build_arguments(options)["NOTE"] == "a b"
    assert b"NOTE='a b'\n" in plan.files["build.env"]
    assert "PIP_OPTIONS" not in plan.plan_file.decode()
    assert "secret" not in plan.plan_file.decode()


def test_a_pulled_image_is_the_only_one_of_its_job(tmp_path: Path) -> None:
    options = InstallSettings(build_args="BASE=me/base:1")
    built = load(write_container_job(tmp_path / "built"), {})
    pulled = load(write_container_job(tmp_path / "pulled", "image = r.io/job:1\n"), {})

    assert images_to_pull(built, options) == ["me/base:1"]
    assert images_to_pull(pulled, options) == ["r.io/job:1"]


def test_steps_come_in_the_order_in_which_they_need_each_other(tmp_path: Path) -> None:
    """A container with data on S3 has an environment, too: the hosts fetch with boto3."""
    job = load(write_container_job(tmp_path / "job", "data = s3://bucket/more -> more\n"), {})

    names = [step.name for step in install_plan(job, InstallSettings()).steps]
    assert names == ["code", "engine", "gpu", "image", "python", "requirements", "data"]


def test_packages_environment_and_setup_come_before_the_requirements(tmp_path: Path) -> None:
    """Their text decides; a run checks them without a change."""
    text = "[job]\napt_packages = cmake g++\nsetup =\n    make # all\n    A=1 ./x\nsingle = x\n"
    (tmp_path / "job.ini").write_text(text)
    job = load(tmp_path, {})
    plan, run = install_plan(job, InstallSettings()), run_plan(job, InstallSettings())

    assert [step.name for step in plan.steps] == ["code", "packages", "python", "setup", "requirements"]
    assert plan.files["setup"] == b"make # all\nA=1 ./x\n"
    assert plan.steps[1].args == (job.name, "cmake", "g++")
    checked = [line.split()[0] for line in run.plan_file.decode().splitlines()]
    assert checked == ["code", "'packages?'", "'python?'", "'setup?'", "'requirements?'"]


def test_data_and_outputs_in_a_folder_of_the_code_leave_the_code_beside_them(tmp_path: Path) -> None:
    for name in ("job.ini", "src/model.py", "src/data[1]/a", "src/out/old", "in/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    data = f"data =\n    ./src/data[1] -> data\n    {tmp_path / 'in'} -> more\n"
    (tmp_path / "job.ini").write_text(f"[job]\nsingle = x\noutputs = src/out\n{data}")
    code, *_ = install_plan(load(tmp_path, {}), InstallSettings()).steps

    assert code.upload
    assert [file.name for file in code.upload.files] == ["job.ini", "src/model.py"]


def test_a_run_compares_local_data_by_its_content_and_the_url_of_s3(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("1")
    (tmp_path / "job.ini").write_text("[job]\nsingle = x\ndata =\n    in -> data\n    s3://b/x -> more\n")
    job = load(tmp_path, {})
    installed = {step.name: step for step in install_plan(job, InstallSettings()).steps}

    def checks() -> dict[str, Step]:
        return {step.name: step for step in run_plan(job, InstallSettings()).steps if step.only_check}

    assert checks()["data-0"].args == installed["data-0"].args
    assert checks()["data-1"].args == ("path", f"{installed['data-1'].args[2]}/.stratus-manifest.json")
    assert "data-0" not in run_plan(job, InstallSettings()).uploads
    (tmp_path / "in/a.txt").write_text("2")
    assert checks()["data-0"].args != installed["data-0"].args


def test_a_conda_environment_takes_the_place_of_python(tmp_path: Path) -> None:
    (tmp_path / "job.ini").write_text("[job]\nenvironment = environment.yml\nsingle = x\n")
    (tmp_path / "environment.yml").write_text("dependencies: [gdal]\n")
    plan = install_plan(load(tmp_path, {}), InstallSettings(conda="/opt/bin/micromamba"))

    assert [step.name for step in plan.steps] == ["code", "conda", "requirements"]
    assert plan.steps[1].args[-1] == "/opt/bin/micromamba"
    assert plan.files["environment.yml"] == b"dependencies: [gdal]\n"


def test_an_argument_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="a line break or NUL"):
        _ = Step("data", "s3.sh", ("a\nb",)).plan_line
