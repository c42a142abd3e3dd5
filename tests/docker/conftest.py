"""Fixtures with a real Docker engine: a running one, or in CI one that is installed and started."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.hosts.docker.engine import EngineError
from localcloud.hosts.docker.hosts import CONFINEMENT
from localcloud.hosts.docker.image import ensure
from localcloud.hosts.docker.network import NoSystemdError
from tests.support.docker.boot_probe import probe
from tests.support.docker.engine import apt_install, exclusive, is_running, started
from tests.support.docker.registry import docker
from tests.support.paths import ROOT

IMAGE = "stratus-test/tiny:1"
APPLETS = ("sh", "cat", "id", "mkdir", "echo", "sleep", "true", "head", "seq", "setsid")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder shared by all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared-docker"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def engine(shared: Path) -> Iterator[None]:
    """A running engine; stopped afterwards if the tests started it."""
    if not is_running() and (os.environ.get("CI") != "true" or os.geteuid() != 0):
        pytest.skip("no Docker engine is accessible to this user (CI installs and starts one)")
    with started(shared):
        yield


@pytest.fixture(scope="session")
def image(engine: None, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small image with a static busybox, shared by all workers of a run; it needs no pull."""
    marker = shared / "image-made"
    with exclusive(shared):
        if not marker.exists():
            if not shutil.which("busybox"):
                if os.environ.get("CI") != "true":
                    pytest.skip("no busybox for an image (apt install busybox-static)")
                apt_install("busybox-static")
            make_image(tmp_path_factory.mktemp("root"))
            marker.touch()
    return IMAGE


def make_image(root: Path) -> None:
    """Import ``IMAGE``.

    :param root: an empty folder for its files.
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
    """The image of docker hosts; CI builds its base image, too."""
    with exclusive(shared):
        if os.environ.get("CI") == "true":
            subprocess.run([ROOT / "scripts/base-image"], check=True, capture_output=True)
        try:
            image = ensure()
        except EngineError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"{error} (scripts/base-image builds a base image; CI does)")
        if reason := why_no_systemd(image, shared):
            pytest.skip(reason)
        return image


def why_no_systemd(image: str, shared: Path) -> str:
    """Why the engine cannot run systemd in a container, which is tried once in a run; empty if it can."""
    answer = shared / "why-no-systemd"
    if not answer.exists():
        answer.write_text(try_systemd(image, shared / "systemd-cloud"))
    return answer.read_text()


def try_systemd(image: str, home: Path) -> str:
    """Boot a host; return the message if systemd does not run."""
    try:
        probe(image, home, CONFINEMENT)
    except NoSystemdError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def registry_program(engine: None, shared: Path) -> None:
    """Make sure that docker-registry is installed; CI installs it."""
    with exclusive(shared):
        if not shutil.which("docker-registry"):
            if os.environ.get("CI") != "true":
                pytest.skip("no docker-registry here (apt install docker-registry; CI does)")
            apt_install("docker-registry")


@pytest.fixture
def layered(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of three layers with random content."""
    folder = tmp_path_factory.mktemp("layered")
    (folder / "a").write_bytes(os.urandom(3_000_000))
    (folder / "b").write_bytes(os.urandom(1_000_000))
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY a /a\nCOPY b /b\n")
    # Named for this process: others may use the same engine.
    tag = f"stratus-test/layered:{os.getpid()}"
    docker("build", "-q", "-t", tag, str(folder))
    yield tag
    subprocess.run(["docker", "rmi", tag], capture_output=True, check=False)
