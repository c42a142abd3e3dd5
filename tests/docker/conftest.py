"""A real Docker engine: the one that runs, or in CI one that is installed and started here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.hosts.docker.engine import EngineError
from localcloud.hosts.docker.image import ensure
from tests.support.docker_engine import apt_install, exclusive, is_running, started
from tests.support.paths import ROOT

IMAGE = "stratus-test/tiny:1"
APPLETS = ("sh", "cat", "id", "mkdir", "echo", "sleep", "true", "head", "seq", "setsid")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared-docker"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def engine(shared: Path) -> Iterator[None]:
    """An engine that answers; one that the tests start, they end."""
    if not is_running() and (os.environ.get("CI") != "true" or os.geteuid() != 0):
        pytest.skip("no Docker engine answers this user (CI installs and starts one)")
    with started(shared):
        yield


@pytest.fixture(scope="session")
def image(engine: None, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small image made of a static busybox, as nothing can be pulled here; the same for all workers of a run."""
    made = shared / "image-made"
    with exclusive(shared):
        if not made.exists():
            if not shutil.which("busybox"):
                if os.environ.get("CI") != "true":
                    pytest.skip("no busybox to make an image of (apt install busybox-static)")
                apt_install("busybox-static")
            make_image(tmp_path_factory.mktemp("root"))
            made.touch()
    return IMAGE


def make_image(root: Path) -> None:
    """Import ``IMAGE``.

    :param root: an empty folder, for its files.
    """
    for folder in ("bin", "tmp", "etc", "proc", "sys", "dev"):
        (root / folder).mkdir()
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    archive = subprocess.run(["tar", "-C", str(root), "-c", "."], check=True, capture_output=True).stdout
    subprocess.run(["docker", "import", "-", IMAGE], input=archive, check=True, capture_output=True)


@pytest.fixture(scope="session")
def host_image(engine: None, shared: Path) -> str:
    """The image of docker hosts; in CI, also the one that it is built on is made here."""
    with exclusive(shared):
        if os.environ.get("CI") == "true":
            subprocess.run([ROOT / "scripts/base-image"], check=True, capture_output=True)
        try:
            return ensure()
        except EngineError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"{error} (scripts/base-image makes one to build on; CI does)")


@pytest.fixture
def registry_program(shared: Path) -> None:
    """The program that is a registry; installed in CI."""
    with exclusive(shared):
        if not shutil.which("docker-registry"):
            if os.environ.get("CI") != "true":
                pytest.skip("no docker-registry here (apt install docker-registry; CI does)")
            apt_install("docker-registry")
