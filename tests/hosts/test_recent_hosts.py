"""Hosts for commands: connected while they are confirmed, used only when they are, confirmed once for seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.host import Host
from orchestrator.hosts.host_keys import KnownHostKeys
from orchestrator.hosts.recent_hosts import RecentHosts
from orchestrator.ssh import SshClient
from tests.support.jobs.own_machines import OwnMachines
from tests.support.ssh.ssh_lab import Lab, Wire
from tests.support.waiting import wait_until

FILE = "hosts.json"


@dataclass
class Source(OwnMachines):
    """Hosts whose confirmation waits for early connections to some wires."""

    wires: Sequence[Wire] = ()
    calls: int = 0

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        self.calls += 1
        for wire in self.wires:
            wait_until(lambda wire=wire: wire.accepted)  # type: ignore[misc]
        return super().hosts(names)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("recent"), hosts=2, first=160)
    yield lab
    lab.stop()


def behind(wire: Wire, lab: Lab, number: int) -> Host:
    host = lab.host(number, address=wire.address, port=wire.port)
    return replace(host, identity=f"i-{number}")


def recent(source: Source, ssh: SshClient, folder: Path, changes: Sequence[int] = (0,)) -> RecentHosts:
    keys = KnownHostKeys(folder / "pins", REAL_CLOCK)
    for host in source.machines:
        keys.add(host.identity, host.host_key)
    return RecentHosts(source, ssh, keys, folder / FILE, lambda: changes[0], in_threads=True)


def test_connections_open_while_the_hosts_are_confirmed_and_only_those_confirmed_are_used(
    lab: Lab, tmp_path: Path
) -> None:
    with Wire(lab.host(0)) as first, Wire(lab.host(1)) as second:
        hosts = [behind(first, lab, 0), behind(second, lab, 1)]
        with SshClient(REAL_CLOCK) as ssh:
            assert recent(Source(hosts), ssh, tmp_path).hosts() == hosts
            assert (first.accepted, second.accepted) == ([], [])

        with SshClient(REAL_CLOCK) as ssh:
            # The second host is no longer the cluster's: a later command must not reach it.
            known = recent(Source(hosts), ssh, tmp_path)
            known._source = Source(hosts[:1], wires=[first, second])
            assert known.hosts() == hosts[:1]
            assert ssh.run(hosts[0], "echo one").stdout == "one\n"
            assert len(first.accepted) == 1


def test_a_host_without_a_key_that_was_seen_in_force_is_not_connected_to_early(lab: Lab, tmp_path: Path) -> None:
    with Wire(lab.host(0)) as wire, SshClient(REAL_CLOCK) as ssh:
        host = behind(wire, lab, 0)
        recent(Source([host]), ssh, tmp_path).hosts()
        (tmp_path / "pins").unlink()
        unknown = RecentHosts(
            Source([host]), ssh, KnownHostKeys(tmp_path / "pins", REAL_CLOCK), tmp_path / FILE, int, in_threads=True
        )

        assert unknown._connect_early(()) == []
        assert unknown.hosts() == [host]


@pytest.mark.parametrize("text", ["", "[]", '{"hosts": 1}', '{"hosts": [1, {}, {"name": "a"}]}'])
def test_a_damaged_file_is_no_error(text: str, lab: Lab, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with SshClient(REAL_CLOCK) as ssh:
        assert recent(Source([lab.host(0)]), ssh, tmp_path).hosts() == [lab.host(0)]


def test_hosts_are_confirmed_again_after_a_change_and_for_names_that_are_new(lab: Lab, tmp_path: Path) -> None:
    changes, source = [0], Source([lab.host(0)])
    with SshClient(REAL_CLOCK) as ssh:
        known = recent(source, ssh, tmp_path, changes)
        name = known.hosts()[0].name
        assert known.hosts([name]) == known.hosts()
        assert source.calls == 1

        changes[0] = 1
        known.hosts()
        assert source.calls == 2

        source.machines = [lab.host(0), lab.host(1)]
        known.hosts([lab.host(1).name])
        assert source.calls == 3
