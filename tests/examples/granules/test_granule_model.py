"""granule_model.pkl: predictions of a loaded model are those of the run, bit for bit."""

from __future__ import annotations

import hashlib
import io
import runpy
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from granules import file_names
from granules.pipeline import GranulesResult
from retrieval.scenes import SceneError

from tests.support.examples.example_data import CLOUD_RETRIEVAL

# By its path: the other job has a predict.py as well, and one process may run the tests of both.
SCRIPT = runpy.run_path(str(CLOUD_RETRIEVAL / "predict.py"))
load, predict = SCRIPT["load"], SCRIPT["predict"]


def zipped(folder: Path, names: tuple[str, ...]) -> bytes:
    """Return an archive of files, under other folders' names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.write(folder / name, f"../any/{Path(name).name}")
    return content.getvalue()


def digest(planes: dict[str, Any]) -> str:
    """Return the hash of predictions that the run computes: of all lines at once, for a small granule."""
    sha256 = hashlib.sha256()
    for first in range(0, len(planes["cloud_phase"]), 64):
        for name in ("cloud_probability", "cloud_phase", "cloud_top_altitude"):
            sha256.update(np.ascontiguousarray(planes[name][first : first + 64]).tobytes())
    return sha256.hexdigest()


@pytest.fixture(scope="module")
def model(local_result: GranulesResult) -> Any:
    return load(str(local_result.options.out))


def test_an_archive_of_a_granule_gives_the_bits_of_the_run(
    local_result: GranulesResult, granule_folder: Path, model: Any
) -> None:
    pair = file_names.find_pairs(str(granule_folder), minutes=15.0)[0]
    planes = predict(model, zipped(granule_folder, pair.swath_files))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        for name in pair.swath_files:
            archive.add(granule_folder / name, name)

    assert digest(planes) == local_result.prediction_digests[pair.key]
    assert digest(predict(model, tar.getvalue())) == digest(planes)
    assert planes["latitude"].shape == (160, 128)


def test_what_is_no_granule_is_refused_in_one_line(granule_folder: Path, model: Any) -> None:
    pair = file_names.find_pairs(str(granule_folder), minutes=15.0)[0]
    for data in (b"", b"PK\3\4", b"x" * 600, [[1.0]], zipped(granule_folder, pair.swath_files[:1])):
        with pytest.raises(SceneError, match="send an archive of the two files") as caught:
            predict(model, data)
        assert "\n" not in str(caught.value)
