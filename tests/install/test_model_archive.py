"""model.tar.gz of a run: its content, its digest, and runs that cannot be served."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.install import model_archive
from orchestrator.jobs import spec
from tests.support.jobs.served_job import write_job, write_run


def test_an_archive_has_outputs_code_and_server_but_no_link_and_no_credential(tmp_path: Path) -> None:
    job, run = write_job(tmp_path / "line"), write_run(tmp_path / "runs", "line")
    (tmp_path / "private").write_text("x")
    for folder in (job, run / "outputs"):
        (folder / "link").symlink_to(tmp_path / "private")
    (job / ".env").write_text("SECRET=1")

    archive = model_archive.pack(spec.load(job, {}), run, tmp_path / "model.tar.gz")

    names = {
        "code/Dockerfile",
        "code/job.ini",
        "code/train.py",
        "code/predict.py",
        "outputs/model.json",
        "stratus/serve.json",
    }
    with tarfile.open(archive.path) as tar:
        assert set(tar.getnames()) == names | {f"stratus/{name}" for name in model_archive.SCRIPTS}
    assert archive.size_bytes == archive.path.stat().st_size


def test_the_same_run_has_the_same_digest_and_another_model_another(tmp_path: Path) -> None:
    job, run = spec.load(write_job(tmp_path / "line"), {}), write_run(tmp_path / "runs", "line")
    first = model_archive.pack(job, run, tmp_path / "one.tar.gz").digest
    os.utime(run / "outputs/model.json", (0, 0))

    assert model_archive.pack(job, run, tmp_path / "two.tar.gz").digest == first
    (run / "outputs/model.json").write_text('{"slope": 2, "offset": 0}')
    assert model_archive.pack(job, run, tmp_path / "two.tar.gz").digest != first


def test_job_ini_names_the_outputs_that_predictions_need(tmp_path: Path) -> None:
    job, run = write_job(tmp_path / "line", "[serve]\noutputs = *.json\n"), write_run(tmp_path / "runs", "line")
    (run / "outputs/figure.png").write_bytes(b"x")

    with tarfile.open(model_archive.pack(spec.load(job, {}), run, tmp_path / "model.tar.gz").path) as tar:
        assert [name for name in tar.getnames() if name.startswith("outputs/")] == ["outputs/model.json"]


def test_a_run_that_cannot_be_served_is_refused_in_one_line(tmp_path: Path) -> None:
    run, job = write_run(tmp_path / "runs", "line"), write_job(tmp_path / "bare", predict="")

    with pytest.raises(UsageError, match=r"has no predict\.py, and its job\.ini no \[serve\] command"):
        model_archive.check(spec.load(job, {}), run)
    other = write_job(tmp_path / "line", "[serve]\noutputs = *.pt\n")
    with pytest.raises(UsageError, match=r"has no files that match \*\.pt: there is no model to serve"):
        model_archive.check(spec.load(other, {}), run)
    own_server = write_job(tmp_path / "own", "[serve]\ncommand = python server.py\n", predict="")
    model_archive.check(spec.load(own_server, {}), run)
