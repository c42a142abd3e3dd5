"""Resources of another user in the same account, which a tool must not touch."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from localcloud.core.addresses import HOME_REGION
from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import Lifecycle
from localcloud.scenarios.scenario import Fault

if TYPE_CHECKING:
    from localcloud.ec2.backend import Ec2Region

_ACCOUNT = "123456789012"
# The private key does not exist.
_PUBLIC_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEEgY29sbGVhZ3VlIGhvbGRzIHRoZSBvdGhlciBoYWxm colleague"


class ThirdPartyResources:
    """Creates the resources of the scenario's ``colleague`` faults, and deletes them when it is over."""

    def __init__(self, lifecycle: Lifecycle, environment: CloudEnvironment) -> None:
        self._lifecycle, self._environment = lifecycle, environment
        self._instance_ids: list[str] = []
        self._groups: list[tuple[Ec2Region, str]] = []
        self._keys: list[tuple[Ec2Region, str]] = []

    def replace(self, faults: list[Fault]) -> None:
        """Replace all resources by those of ``faults``; called with the cloud's lock held."""
        # Earlier resources go first: names of groups and key pairs must be free again.
        self._delete()
        for fault in faults:
            region = next(iter(fault.where.region), HOME_REGION)
            self._create(_ec2(region), fault)

    def _create(self, ec2: Ec2Region, fault: Fault) -> None:
        tags: Any = dict(fault["tags"])
        if fault["key"]:
            ec2.import_key_pair(fault["key"], _PUBLIC_KEY, tags)
            self._keys.append((ec2, fault["key"]))
        group = self._create_group(ec2, fault["group"], tags) if fault["group"] else ""
        if not fault["machines"]:
            return
        reservation = ec2.run_instances(
            next(iter(ec2.amis)),
            fault["machines"],
            None,
            [],
            instance_type=fault["type"],
            is_instance_type_default=False,
            region_name=ec2.region_name,
            subnet_id=next(iter(ec2.get_default_subnets().values())).id,
            security_group_ids=[group] if group else [],
            key_name=fault["key"] or None,
            tags={"instance": tags, "volume": tags},
        )
        for instance in reservation.instances:
            tracked = self._lifecycle.instances[instance.id]
            # Scenarios do not count them, and they have no host.
            tracked.host_number, tracked.faults = None, {"boot-hangs": fault}
            self._instance_ids.append(instance.id)
            self._lifecycle.complete_launch(tracked)

    def _create_group(self, ec2: Ec2Region, name: str, tags: dict[str, str]) -> str:
        vpc = next(iter(ec2.get_default_subnets().values())).vpc_id
        group: Any = ec2.create_security_group(name, "A colleague's", vpc, tags)
        self._groups.append((ec2, group.id))
        return str(group.id)

    def _delete(self) -> None:
        for instance_id in self._instance_ids:
            tracked = self._lifecycle.instances.get(instance_id)
            if tracked is not None and tracked.instance.state in ("pending", "running", "stopping", "stopped"):
                self._lifecycle.terminate(tracked.instance)
        for ec2, name in self._keys:
            ec2.delete_key_pair(name)
        # Groups can be deleted once their instances have terminated.
        self._environment.clock.after(
            self._environment.durations.shutting_down_s + 1.0, functools.partial(_delete_groups, tuple(self._groups))
        )
        self._instance_ids.clear()
        self._keys.clear()
        self._groups.clear()


def _delete_groups(groups: Iterable[tuple[Ec2Region, str]]) -> None:
    for ec2, group in groups:
        # The user may have deleted the group, or may still use it.
        with ec2.environment.lock, contextlib.suppress(Exception):
            ec2.delete_security_group(group_id=group)


def _ec2(region: str) -> Ec2Region:
    from moto.ec2.models import ec2_backends

    backend: Any = ec2_backends[_ACCOUNT][region]
    ec2: Ec2Region = backend
    return ec2
