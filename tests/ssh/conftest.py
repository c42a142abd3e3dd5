"""Fixtures of the SSH tests: real servers on loopback addresses, and a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.ssh import SshClient
from tests.support.ssh.ssh_lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """32 servers for all tests of a module."""
    lab = Lab(tmp_path_factory.mktemp("ssh"), hosts=32)
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server with another host key than the pinned one."""
    lab = Lab(tmp_path_factory.mktemp("impostor"), first=100)
    yield lab
    lab.stop()


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Lab]:
    """A server that a test may stop or freeze."""
    lab = Lab(tmp_path / "own", first=101)
    yield lab
    lab.stop()


@pytest.fixture
def ssh_client() -> Iterator[SshClient]:
    with SshClient(REAL_CLOCK) as ssh_client:
        yield ssh_client
