"""Install steps as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.settings import InstallSettings
from orchestrator.core.errors import UsageError
from orchestrator.install.steps import Step, build_arguments, images_to_pull, install_plan
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
    assert names == ["python", "requirements", "code", "engine", "gpu", "image", "data"]


def test_an_argument_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="a line break or NUL"):
        _ = Step("data", "s3.sh", ("a\nb",)).plan_line
