"""Scenes on S3, from a real server on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from retrieval import s3_staging
from retrieval.pipeline import RetrievalResult

from tests.support.aws.s3_server import s3_server
from tests.support.examples.example_data import CLOUD_RETRIEVAL, scene_hashes


@pytest.mark.slow
def test_scenes_on_s3_are_staged_and_removed_with_the_result_of_local_scenes(
    local_result: RetrievalResult, scene_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(CLOUD_RETRIEVAL / "retrieve.py"), "--out", "outputs", "--fast"]
    with s3_server("clouds", "scenes", scene_folder, tmp_path / "scratch") as env:
        done, lost = (
            subprocess.run(
                [*command, "--rows", "2000", "--data", url], cwd=tmp_path, env=env, capture_output=True, text=True
            )
            for url in ("s3://clouds/scenes", "s3://elsewhere/x")
        )

    assert (done.returncode, done.stderr) == (0, "")
    metrics = json.loads((tmp_path / "outputs" / "metrics.json").read_text())
    assert (metrics["model"]["sha256"], metrics["predictions"]["sha256"]) == scene_hashes(local_result)
    assert metrics["data"]["kind"] == "synthetic"
    assert "R2 log(1+COT)" in done.stdout
    assert (tmp_path / "outputs" / "retrieval.png").stat().st_size > 50_000
    assert not list((tmp_path / "scratch").glob("cloud_retrieval-*"))
    assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
    assert lost.stderr.startswith("s3://elsewhere/x: ")
    with h5py.File(tmp_path / "outputs" / "predictions.h5") as file:
        assert file.attrs["synthetic"]
        assert file["synthetic_00001.hdf5/cloud_effective_radius"].attrs["units"] == "um"


def test_an_s3_url_is_split_into_bucket_and_prefix() -> None:
    assert s3_staging.split_url("s3://bucket/a/b/") == ("bucket", "a/b/")
    assert s3_staging.split_url("s3://bucket") == ("bucket", "")
