"""A real Docker engine: the one that runs, or in CI one that is installed and started here."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud import docker_image
from localcloud.docker_engine import EngineError

ROOT = Path(__file__).parent.parent.parent
IMAGE = "stratus-test/tiny:1"
APPLETS = ("sh", "cat", "id", "mkdir", "echo", "sleep", "true", "head", "seq", "setsid")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)


def answers() -> bool:
    """Whether an engine answers this user."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def install(*packages: str) -> None:
    """Install Debian packages, in CI only."""
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], check=True, env=env, capture_output=True)
    subprocess.run(["apt-get", "-qq", "install", "--yes", *packages], check=True, env=env, capture_output=True)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An engine that answers; one started here is ended here."""
    if answers():
        yield
        return
    if os.environ.get("CI") != "true" or os.geteuid() != 0:
        pytest.skip("no Docker engine answers this user (CI installs and starts one)")
    if not shutil.which("dockerd"):
        install("docker.io")
    folder = tmp_path_factory.mktemp("docker")
    log = folder / "log"
    places = [
        "--data-root",
        str(folder / "data"),
        "--exec-root",
        str(folder / "exec"),
        "--pidfile",
        str(folder / "pid"),
    ]
    with log.open("wb") as file:
        daemon = subprocess.Popen(["dockerd", *places], stdout=file, stderr=file)
    try:
        until = time.monotonic() + 60
        while not answers():
            assert daemon.poll() is None, f"dockerd ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < until, f"dockerd does not answer: {log.read_text()[-2000:]}"
            time.sleep(0.2)
        yield
    finally:
        daemon.terminate()
        daemon.wait(30)
        # What it mounted would keep the folder from being removed.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
        subprocess.run(["umount", *mounts], check=False, capture_output=True) if mounts else None


@pytest.fixture(scope="session")
def image(engine: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small image made of a static busybox, as nothing can be pulled here."""
    if not shutil.which("busybox"):
        if os.environ.get("CI") != "true":
            pytest.skip("no busybox to make an image of (apt install busybox-static)")
        install("busybox-static")
    root = tmp_path_factory.mktemp("root")
    for folder in ("bin", "tmp", "etc", "proc", "sys", "dev"):
        (root / folder).mkdir()
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    archive = subprocess.run(["tar", "-C", str(root), "-c", "."], check=True, capture_output=True).stdout
    subprocess.run(["docker", "import", "-", IMAGE], input=archive, check=True, capture_output=True)
    return IMAGE


@pytest.fixture(scope="session")
def host_image(engine: None) -> str:
    """The image of docker hosts; in CI, also the one that it is built on is made here."""
    if os.environ.get("CI") == "true":
        subprocess.run([ROOT / "scripts/base-image"], check=True, capture_output=True)
    if not docker_image.is_there(name := docker_image.name()):
        try:
            docker_image.ensure()
        except EngineError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"{error} (scripts/base-image makes one to build on; CI does)")
    return name


@pytest.fixture
def registry_program() -> None:
    """The program that is a registry; installed in CI."""
    if not shutil.which("docker-registry"):
        if os.environ.get("CI") != "true":
            pytest.skip("no docker-registry here (apt install docker-registry; CI does)")
        install("docker-registry")
