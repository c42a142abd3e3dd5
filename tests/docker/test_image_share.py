"""An image that one host builds and the others get from it: a real engine, which the hosts share."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.events import Event
from orchestrator.install.fan_out import FanOutOptions, Tree
from orchestrator.install.image_share import NAME, ImageShare
from orchestrator.install.parcel import Parcel
from orchestrator.install.requests import HostRequests
from tests.support.docker.registry import docker
from tests.support.script_host import HOST, ScriptHost, states

TAG = "stratus-test/shared:1"
ENGINE = """#!/bin/sh
# The engine as a host of its own has it: without images that it has neither built nor loaded.
mark=$HOME/has-image
echo "$*" >>"$HOME/docker.log"
case "$1 $2" in
"image inspect") [ -e "$mark" ] || exit 1 ;;
"build "* | "load "*) touch "$mark" ;;
esac
exec {docker} "$@"
"""


@pytest.fixture
def hosts(tmp_path: Path, image: str) -> Iterator[list[ScriptHost]]:
    """Three hosts with the code of a job."""
    engine = ENGINE.replace("{docker}", shutil.which("docker") or "docker")
    found = []
    for number in range(3):
        home = tmp_path / f"ml-{number}"
        folder = home / "stratus/jobs/job"
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(f"FROM {image}\nRUN echo built >/built\n")
        (home / "bin").mkdir()
        (home / "bin/docker").write_text(engine)
        (home / "bin/docker").chmod(0o755)
        found.append(ScriptHost(home))
    yield found
    docker("rmi", "--force", TAG)


def install(hosts: list[ScriptHost], folder: Path, *, broken: bool = False) -> tuple[list[list[str]], list[Event]]:
    """Build the image on all hosts, as an install does; return their lines, and events.

    :param broken: the host that builds does not offer the image.
    """
    events: list[Event] = []
    parcels: dict[str, Parcel] = {}
    trees: dict[str, Tree] = {}
    tree = Tree(NAME, len(hosts), FanOutOptions(), REAL_CLOCK, events.append)
    share = ImageShare(tree, parcels, trees, folder, 60)
    plan = shlex.join(["image", "image.sh", "build", TAG, "", "", "jobs/job"]).encode() + b"\n"
    files = remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS) | {"plan": plan, "share": b""}
    if broken:
        files["image_share.py"] = b"raise SystemExit(1)"
    lines: list[list[str]] = [[] for _ in hosts]

    def run(number: int) -> None:
        host = replace(HOST, name=f"ml-{number}")
        requests = HostRequests(host, parcels, trees, None, REAL_CLOCK, events.append, share)
        env = {"PATH": f"{hosts[number].home}/bin:{os.environ['PATH']}"}
        lines[number] = hosts[number].converse(remote_scripts.bundle(files), requests.respond, env)
        share.leave(host)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return lines, events


def commands(host: ScriptHost, name: str) -> int:
    """Return how often a host has called a command of docker."""
    return sum(line.startswith(f"{name} ") for line in (host.home / "docker.log").read_text().splitlines())


@pytest.mark.slow
def test_one_host_builds_the_image_and_the_others_load_the_same(hosts: list[ScriptHost], tmp_path: Path) -> None:
    lines, events = install(hosts, tmp_path)

    assert [states(each) for each in lines] == [["image done"]] * 3, lines
    assert sum(commands(host, "build") for host in hosts) == 1
    assert sum(commands(host, "load") for host in hosts) == 2
    assert len({line for each in lines for line in each if line.startswith("@@image ")}) == 1
    assert not events


@pytest.mark.slow
def test_without_an_offer_every_host_builds_its_own(hosts: list[ScriptHost], tmp_path: Path) -> None:
    lines, _ = install(hosts, tmp_path, broken=True)

    assert [states(each) for each in lines] == [["image done"]] * 3
    assert sum(commands(host, "build") for host in hosts) == 3
