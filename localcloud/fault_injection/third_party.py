"""A colleague in the same account, whose machines, group and key must be left alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from localcloud.core.addresses import HOME_REGION
from localcloud.ec2.environment import World
from localcloud.ec2.lifecycle import Lifecycle
from localcloud.scenarios.scenario import Fault

if TYPE_CHECKING:
    from localcloud.ec2.backend import Ec2

_ACCOUNT = "123456789012"
# Nobody holds the private half.
_PUBLIC_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEEgY29sbGVhZ3VlIGhvbGRzIHRoZSBvdGhlciBoYWxm colleague"


class Colleagues:
    """Makes what colleagues have, and takes it away when their scenario is over."""

    def __init__(self, lifecycle: Lifecycle, world: World) -> None:
        self._lifecycle, self._world = lifecycle, world
        self._machines: list[str] = []
        self._groups: list[tuple[Ec2, str]] = []
        self._keys: list[tuple[Ec2, str]] = []

    def come_and_go(self, faults: list[Fault]) -> None:
        """Replace all colleagues by those of ``faults``; called with the cloud's lock held."""
        self._go()
        for fault in faults:
            region = next(iter(fault.where.region), HOME_REGION)
            self._come(_ec2(region), fault)

    def _come(self, ec2: Ec2, fault: Fault) -> None:
        tags: Any = dict(fault["tags"])
        if fault["key"]:
            ec2.import_key_pair(fault["key"], _PUBLIC_KEY, tags)
            self._keys.append((ec2, fault["key"]))
        group = self._group(ec2, fault["group"], tags) if fault["group"] else ""
        if not fault["machines"]:
            return
        made = ec2.run_instances(
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
        for instance in made.instances:
            machine = self._lifecycle.machines[instance.id]
            # No scenario means them, and no host stands behind them.
            machine.number, machine.faults = None, {"boot-hangs": fault}
            self._machines.append(instance.id)
            self._lifecycle.run(machine)

    def _group(self, ec2: Ec2, name: str, tags: dict[str, str]) -> str:
        vpc = next(iter(ec2.get_default_subnets().values())).vpc_id
        made: Any = ec2.create_security_group(name, "A colleague's", vpc, tags)
        self._groups.append((ec2, made.id))
        return str(made.id)

    def _go(self) -> None:
        for one in self._machines:
            machine = self._lifecycle.machines.get(one)
            if machine is not None and machine.instance.state in ("pending", "running", "stopping", "stopped"):
                self._lifecycle.terminate(machine.instance)
        for ec2, name in self._keys:
            ec2.delete_key_pair(name)
        # A group goes when its machines have gone.
        self._world.clock.after(self._world.dwell.shutting_down + 1.0, functools.partial(_delete, tuple(self._groups)))
        self._machines.clear()
        self._keys.clear()
        self._groups.clear()


def _delete(groups: Iterable[tuple[Ec2, str]]) -> None:
    for ec2, group in groups:
        with ec2.world.lock, contextlib.suppress(Exception):
            ec2.delete_security_group(group_id=group)


def _ec2(region: str) -> Ec2:
    from moto.ec2.models import ec2_backends

    backend: Any = ec2_backends[_ACCOUNT][region]
    ec2: Ec2 = backend
    return ec2
