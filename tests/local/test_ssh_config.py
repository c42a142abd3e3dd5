"""Plain ssh and scp by name after ``ssh-config --install``, through launch, stop, start and terminate."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.events import ignore_event
from orchestrator.services.ssh_config import SshConfigFiles, SshConfigService
from orchestrator.session import Session
from tests.support.project import Project

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not installed")


@pytest.fixture
def session(cloud: dict[str, str], tmp_path: Path) -> Iterator[Session]:
    """A session of a cluster that is terminated afterwards."""
    project = Project(tmp_path, f"ssh{os.getpid()}", cloud)
    project.job("single = true\n")
    with project.session() as session:
        yield session
        assert session.cluster.terminate().remaining == ()


def service(session: Session, user_config: Path) -> SshConfigService:
    """Return the session's own service, with another user's config file."""
    files = SshConfigFiles(session.ssh_config.files.folder, user_config)
    return SshConfigService(
        session.inventory, files, lambda: session.context.folder.name, clock=REAL_CLOCK, on_event=ignore_event
    )


def reach(program: str, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [program, "-F", str(config), "-o", "BatchMode=yes", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_names_work_in_plain_ssh_and_scp_as_long_as_the_vm_is_up(session: Session, tmp_path: Path) -> None:
    config = tmp_path / "user/.ssh/config"
    assert not session.cluster.launch(session.cluster.plan(1)).failed
    # Before it is asked for, nothing is written.
    assert not session.ssh_config.files.config.exists()

    report = service(session, config).install()
    name = report.hosts[0].name
    assert report.is_included
    assert reach("ssh", config, name, "echo in").stdout == "in\n"
    (tmp_path / "up").write_text("content")
    copied = reach("scp", config, str(tmp_path / "up"), f"{name}:there")
    assert copied.returncode == 0, copied.stderr
    assert reach("ssh", config, name, "cat there").stdout == "content"

    # From here on the session itself keeps the file up to date.
    session.cluster.stop()
    assert name not in session.ssh_config.files.config.read_text()
    session.cluster.start()
    assert reach("ssh", config, name, "echo again").stdout == "again\n"
    session.cluster.terminate()
    assert session.ssh_config.files.config.read_text() == ""

    assert not service(session, config).remove().is_included
    assert config.read_text() == ""
