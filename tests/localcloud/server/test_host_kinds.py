"""Kinds of hosts: a new one is a record, which daemon and endpoint use like the built-in ones."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from localcloud import LocalCloudError
from localcloud.aws.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from localcloud.core.addresses import (
    ENDPOINT_PORT,
    HOME_REGION,
    METADATA_ADDRESS,
    VM_BLOCKS,
    AddressBlock,
    claim_loopback_block,
)
from localcloud.core.clock import RealClock
from localcloud.core.home import Home
from localcloud.ec2.environment import StateDurations
from localcloud.hosts.interface import HostSite
from localcloud.hosts.simulated import SimulatedHosts
from localcloud.hosts.unresponsive_port import UnresponsivePort
from localcloud.server import daemon, host_kinds
from localcloud.server.endpoint import open_endpoint
from localcloud.server.host_kinds import HostKind
from tests.support.localcloud.clients import TYPE, boto, image, wait_for_state


@dataclasses.dataclass
class NewKind:
    """A kind of hosts that the cloud does not have: nothing runs, and every operation is recorded.

    :param blocks: addresses to claim; those of process hosts by default.
    """

    events: list[object] = dataclasses.field(default_factory=list)
    blocks: Sequence[AddressBlock] = ()

    def prepare(self, report: Callable[[str], None]) -> None:
        report("preparing")

    def open(self, home: Home, resources: ExitStack) -> HostSite:
        clock = RealClock()
        resources.callback(clock.close)

        def make_hosts(on_shutdown: Callable[[str], None]) -> SimulatedHosts:
            hosts = SimulatedHosts(clock, on_shutdown)
            hosts.operations = self.events  # type: ignore[assignment]
            return hosts

        block, listener = claim_loopback_block(self.blocks)
        return HostSite(block, listener, make_hosts, home.console, UnresponsivePort)

    def close(self, home: Home) -> None:
        self.events.append(("close", home.folder))

    @property
    def kind(self) -> HostKind:
        return HostKind(self.prepare, self.open, self.close)


def _environment(site: HostSite) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": site.block.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_DEFAULT_REGION": HOME_REGION,
    }


def test_a_cloud_runs_the_hosts_of_a_new_kind(tmp_path: Path) -> None:
    new, home = NewKind(), Home(tmp_path)
    with ExitStack() as resources:
        site = new.kind.open(home, resources)
        endpoint = open_endpoint(home, StateDurations(pending_s=0.05, boot_s=0.0, shutting_down_s=0.05), site)
        resources.callback(endpoint.close)
        threading.Thread(target=endpoint.serve, daemon=True).start()
        env = _environment(site)
        ec2 = boto(env, "ec2")
        (instance,) = ec2.run_instances(ImageId=image(env), InstanceType=TYPE, MinCount=1, MaxCount=1)["Instances"]
        wait_for_state(ec2, [instance["InstanceId"]], "running")
        ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
        wait_for_state(ec2, [instance["InstanceId"]], "terminated")

    assert new.events == [("start", instance["InstanceId"]), ("destroy", instance["InstanceId"])]


def test_a_host_in_a_network_of_its_own_finds_its_metadata_through_its_address_on_loopback(tmp_path: Path) -> None:
    new = NewKind(blocks=VM_BLOCKS)
    with ExitStack() as resources:
        site = new.kind.open(Home(tmp_path), resources)
        endpoint = open_endpoint(Home(tmp_path), StateDurations(pending_s=0.05, boot_s=0.0), site)
        resources.callback(endpoint.close)
        threading.Thread(target=endpoint.serve, daemon=True).start()
        ec2 = boto(_environment(site), "ec2")
        image_id = image(_environment(site))
        (instance,) = ec2.run_instances(ImageId=image_id, InstanceType=TYPE, MinCount=1, MaxCount=1)["Instances"]
        wait_for_state(ec2, [instance["InstanceId"]], "running")
        private = instance["PrivateIpAddress"]
        assert private.startswith("172.30.")

        source = site.block.local_address(private)
        client = http.client.HTTPConnection(site.block.endpoint, ENDPOINT_PORT, 30, source_address=(source, 0))
        resources.callback(client.close)
        headers = {"Host": METADATA_ADDRESS, "X-aws-ec2-metadata-token-ttl-seconds": "60"}
        client.request("PUT", "/latest/api/token", headers=headers)
        token = client.getresponse().read().decode()
        headers = {"Host": METADATA_ADDRESS, "X-aws-ec2-metadata-token": token}
        client.request("GET", "/latest/meta-data/instance-id", headers=headers)
        assert client.getresponse().read().decode() == instance["InstanceId"]


def test_a_kind_is_prepared_before_its_daemon_starts(tmp_path: Path) -> None:
    def fail(report: Callable[[str], None]) -> None:
        report("looking for a hypervisor")
        raise LocalCloudError("no hypervisor")

    home, lines = Home(tmp_path / "home"), list[str]()
    kinds = {"vm": dataclasses.replace(NewKind().kind, prepare=fail)}
    with pytest.raises(LocalCloudError, match="no hypervisor"):
        daemon.up(home, daemon.CloudOptions(hosts="vm"), lines.append, kinds)

    assert lines == ["looking for a hypervisor"]
    assert not home.log.exists()


@pytest.mark.slow
def test_a_daemon_has_the_start_timeout_of_its_kind(tmp_path: Path) -> None:
    kinds = {"process": dataclasses.replace(host_kinds.KINDS["process"], start_timeout_s=0.01)}
    with pytest.raises(LocalCloudError, match="no answer within 0 s"):
        daemon.up(Home(tmp_path), daemon.CloudOptions(), kinds=kinds)

    assert daemon.running(Home(tmp_path)) is None


def test_leftovers_of_a_killed_daemon_are_removed_by_its_kind(tmp_path: Path) -> None:
    new, home = NewKind(), Home(tmp_path)
    home.state_file.write_text(json.dumps({"orders": {"hosts": "vm"}}))
    daemon.down(home, {"vm": new.kind})

    assert new.events == [("close", tmp_path)]
    assert not home.state_file.exists()


def test_the_kind_of_hosts_is_an_argument_or_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(requested: str | None) -> str:
        return host_kinds.resolve(requested, host_kinds.KINDS)

    monkeypatch.delenv("LOCALCLOUD_HOSTS_KIND", raising=False)
    assert (resolved(None), resolved("docker")) == ("process", "docker")
    monkeypatch.setenv("LOCALCLOUD_HOSTS_KIND", "docker")
    assert (resolved(None), resolved("process")) == ("docker", "process")
    monkeypatch.setenv("LOCALCLOUD_HOSTS_KIND", "cloud")
    with pytest.raises(LocalCloudError, match=r"hosts 'cloud' \(LOCALCLOUD_HOSTS_KIND\): use process or docker or vm"):
        resolved(None)
