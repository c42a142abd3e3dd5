"""A large upload to real SSH hosts that pass it on to each other."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import localcloud
from orchestrator.core.events import Event
from orchestrator.hosts import parallel
from orchestrator.install import steps
from orchestrator.install.fan_out import FanOutOptions
from orchestrator.install.installer import Installer
from orchestrator.install.upload import scan
from orchestrator.session import Session
from tests.support.project import Project

SIZE = 9_000_001
LOST = "[scenario]\n[lost]\nfault = host-lost\nwhere = host 1\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Path]]:
    """Four hosts of a cloud of their own, and its home: faults count hosts in the order of launches."""
    home = tmp_path_factory.mktemp("cloud")
    env = localcloud.up(home, pending=0.2, boot=0.1, bound_to=os.getpid())
    project = Project(tmp_path_factory.mktemp("tree"), "tree", env)
    project.job("single = true\n")
    with project.session() as opened:
        opened.cluster.launch(opened.cluster.plan(4))
        yield opened, home
        localcloud.scenario(None, home)
        assert opened.cluster.terminate().remaining == ()
    localcloud.down(home)


def send(session: Session, folder: Path, on_event: Callable[[Event], None], limit: float) -> parallel.Outcomes[object]:
    """Upload a folder to all hosts.

    :param limit: bandwidth of each host, bytes per second.
    """
    upload = scan("tree.data", folder, "data/tree")
    step = steps.Step("data", "parcel.sh", (upload.name, upload.digest, upload.remote_path), upload)
    options = FanOutOptions(min_bytes=1, link_bytes_per_s=limit)
    hosts = [session.inventory.ready(host) for host in session.inventory.hosts()]
    ssh, plan = session.context.ssh, steps.InstallPlan((step,))
    installer = Installer(ssh, plan, folder.parent / "logs", on_event, host_count=len(hosts), fan_out=options)
    return parallel.for_each(hosts, installer, clock=session.context.clock)


@pytest.mark.slow
def test_a_host_that_dies_on_the_way_costs_only_itself(lab: tuple[Session, Path], tmp_path: Path) -> None:
    """Its upload fails, and no other; no key stays anywhere."""
    session, home = lab
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(content := os.urandom(SIZE))

    def kill(event: Event) -> None:
        if event.host == "tree-1" and re.match(r"uploaded [2-6] of", event.text):
            localcloud.scenario(LOST, home)

    outcomes = send(session, folder, kill, 3e6)
    others = session.inventory.hosts(["tree-0", "tree-2", "tree-3"])
    command = "sha256sum stratus/data/tree/weights.bin; grep -rl 'PRIVATE KEY-----' stratus"
    outputs = {session.context.ssh.run(host, command).stdout.rstrip() for host in others}

    assert list(outcomes.errors) == ["tree-1"]
    assert outputs == {f"{hashlib.sha256(content).hexdigest()}  stratus/data/tree/weights.bin"}
