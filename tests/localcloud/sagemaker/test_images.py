"""Interpreters that stand for images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.core.errors import LocalCloudError
from localcloud.sagemaker.containers.engine import ContainerEngine
from localcloud.sagemaker.containers.image import Images
from localcloud.sagemaker.containers.namespaces import Namespaces
from localcloud.sagemaker.containers.spec import ContainerSpec

AWS_IMAGE = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.8.0-cpu-py312-ubuntu22.04-sagemaker"
OWN_IMAGE = "123456789012.dkr.ecr.us-west-2.amazonaws.com/stratus/job@sha256:1"


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """The interpreter of an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "other")], check=True)
    return tmp_path / "other/bin/python"


def test_the_first_pattern_that_matches_a_repository_counts(other_python: Path) -> None:
    entries = f"pytorch-*={other_python}{os.pathsep}stratus/job={other_python}{os.pathsep}*={sys.executable}"
    images = Images.from_environ({"LOCALCLOUD_IMAGES": entries})

    assert images.python(AWS_IMAGE) == images.python(OWN_IMAGE) == other_python
    assert images.python("127.0.0.1:5000/stratus/job:1") == other_python
    assert images.python("127.0.0.1:5000/stratus/other:1") == Path(sys.executable)
    assert Images().python(AWS_IMAGE) == Path(sys.executable)


@pytest.mark.parametrize("entry", ["job", "job=/no/such/python"])
def test_an_interpreter_that_does_not_exist_is_refused(entry: str) -> None:
    with pytest.raises(LocalCloudError, match=f"LOCALCLOUD_IMAGES: {entry} must be"):
        Images.from_environ({"LOCALCLOUD_IMAGES": entry})


def test_a_container_has_the_packages_of_its_image(other_python: Path, tmp_path: Path) -> None:
    images = Images({"stratus/job": other_python})
    lines: list[str] = []
    command = ("python", "-c", "import sys; print(sys.prefix)")
    spec = ContainerSpec("algo-1", tmp_path / "box", command, {}, {"algo-1": "127.66.0.1"}, image=OWN_IMAGE)
    hidden = Namespaces((tmp_path,), tuple(images.folders))
    assert ContainerEngine({}, hidden, images).start(spec, lines.extend).wait(30) == 0

    assert lines[-1] == str(other_python.parents[1])
