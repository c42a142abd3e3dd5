"""The granules job through the verbs: one folder, on one VM and on two."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.local.lab import Lab

for package in ("netCDF4", "pyhdf", "sklearn", "matplotlib"):
    pytest.importorskip(package, reason=f"the granules job needs {package} (requirements.txt of the example)")

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "cloud_retrieval"


@pytest.mark.slow
def test_one_folder_runs_on_one_vm_and_on_two_with_the_same_bits(tmp_path: Path, cloud: dict[str, str]) -> None:
    desk = Lab(tmp_path, "granules", cloud)
    left = shutil.ignore_patterns("data", "outputs", "__pycache__")
    shutil.copytree(EXAMPLE, tmp_path / "sky", ignore=left)
    make = [sys.executable, "make_granules.py", "--out", "data/granules", "--granules", "4", "--lines", "160"]
    subprocess.run([*make, "--pixels", "128"], cwd=tmp_path / "sky", check=True, capture_output=True, timeout=120)
    ini = tmp_path / "sky" / "granules.ini"
    text = ini.read_text().replace(
        "requirements = requirements.txt", f"python = {sys.executable}\nsystem_packages = yes"
    )
    text = text.replace("workers_per_host = 2", "workers_per_host = 1")
    ini.write_text(text.replace("--data data ", "--data data --folds 2 --trees 8 --maps 2 "))
    desk.config.write_text(desk.config.read_text().replace("run = job", f"run = {ini}"))

    with desk.session() as session:
        assert not session.launch(session.plan(2)).failed
        assert not session.install().failed
        records = [ended(session, multi=multi) for multi in (False, True)]
        assert session.terminate().left == ()

    one, two = (record.metrics for record in records)
    assert (one["run"]["workers"], two["run"]["workers"]) == (1, 2)
    assert one["data"]["kind"] == two["data"]["kind"] == "synthetic"
    assert one["model"] == two["model"]
    assert one["predictions"] == two["predictions"]
    for record in records:
        assert len(list((record.folder / "outputs" / "maps").glob("cloud_*.nc"))) == 2
        assert len(list((record.folder / "outputs" / "collocation").glob("*_Index.h5"))) == 4


def ended(session: Any, *, multi: bool) -> Any:
    """A run, followed to its end and fetched."""
    handle = session.start_run(multi=multi)
    session.follow(handle.run, on_line=lambda host, line: None)
    return session.fetch(handle.run)
