"""EC2 as this cloud does it: moto's backend, with machines behind the instances.

Only what moto does differently from EC2 is here: where addresses come from, what an instance's state is and when it
changes, and what may not be deleted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError, OperationNotPermitted4

from localcloud.aws.error_responses import ApiError
from localcloud.aws.images import IMAGES, SeededImage
from localcloud.core.addresses import ZONES_PER_REGION, AddressBlock
from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import SHUTTING_DOWN, Lifecycle
from localcloud.ec2.visibility import Views
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance, InstanceState, Reservation
    from moto.ec2.models.key_pairs import KeyPair
    from moto.ec2.models.vpcs import VPC

_DEFAULT_IOPS = {"io1": 3000, "io2": 3000}


@dataclass(frozen=True)
class BackendContext:
    """What every region's EC2 stands on.

    :param console: what an instance wrote while it booted.
    :param regions: those in use, in the order in which they came to be.
    """

    environment: CloudEnvironment
    block: AddressBlock
    lifecycle: Lifecycle
    console: Callable[[str], bytes]
    regions: list[str]


class Ec2Region(Views):
    """One region. Every method is called with the cloud's lock held."""

    def __init__(self, region_name: str, account_id: str, *, context: BackendContext) -> None:
        self.context, self.environment, self.lifecycle = context, context.environment, context.lifecycle
        # When each group was first tried to be deleted in vain, on the cloud's clock.
        self._first_delete_attempt: dict[str, float] = {}
        self.launches: dict[str, tuple[str, Reservation]] = {}
        super().__init__(region_name, account_id)

    @property
    def flask_paths(self) -> dict[str, Callable[..., Any]]:
        """Requests go to our reading of the API."""
        from localcloud.ec2.api import Ec2Api

        return {"/": Ec2Api.dispatch}

    def create_default_vpc(self) -> VPC:
        """A default VPC inside the cloud's block, with a /24 for each of the first zones; moto's own when full."""
        regions = self.context.regions
        if self.region_name not in regions:
            regions.append(self.region_name)
        network = self.context.block.vpc_network(regions.index(self.region_name))
        if network is None:
            return super().create_default_vpc()
        vpc = self.create_vpc(str(network), is_default=True)
        subnets = network.subnets(new_prefix=24)
        for zone, subnet in zip(self.describe_availability_zones()[:ZONES_PER_REGION], subnets, strict=False):
            self.create_subnet(vpc.id, str(subnet), availability_zone=zone.name)
        return vpc

    def _load_amis(self) -> None:
        for facts in IMAGES:
            image = SeededImage(self, facts)
            self.amis[image.id] = image

    def create_volume(self, *args: Any, **options: Any) -> Any:
        """Like moto's, but a launch's io1 and io2 disks need not name their IOPS: moto loses them on the way."""
        options["iops"] = options.get("iops") or _DEFAULT_IOPS.get(options.get("volume_type") or "")
        return super().create_volume(*args, **options)

    def run_instances(self, *args: Any, **options: Any) -> Reservation:
        """Make instances, all or none, and hand them to the life cycle."""
        before = set(self.reservations)
        try:
            reservation = super().run_instances(*args, **options)
        except BaseException:
            for half_made in set(self.reservations) - before:
                del self.reservations[half_made]
            raise
        for instance in reservation.instances:
            self._register(instance, options)
        return reservation

    def start_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        """Start the stopped ones; running ones stay as they are."""
        instances = self._in_states(instance_ids, ("stopped", "pending", "running"), "started")
        return [self._transition(instance, instance.state == "stopped", self._start) for instance in instances]

    def stop_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        """Stop the running ones; stopped ones stay as they are."""
        instances = self._in_states(instance_ids, ("running", "stopping", "stopped"), "stopped")
        return [self._transition(instance, instance.state == "running", self._stop) for instance in instances]

    def terminate_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        """Terminate all or, when one is protected or unknown, none.

        Contract: one-bad-id-fails-all, protection-holds.
        """
        instances = self.known(instance_ids)
        for instance in instances:
            if instance.disable_api_termination:
                raise OperationNotPermitted4(instance.id)
        end = self.context.lifecycle.terminate
        return [self._transition(instance, instance.state_code not in _TERMINATING, end) for instance in instances]

    def reboot_instances(self, instance_ids: list[str]) -> list[Instance]:
        """Restart the hosts of running instances."""
        instances = self._in_states(instance_ids, ("running",), "rebooted")
        for instance in instances:
            self.context.lifecycle.reboot(instance)
        return instances

    def delete_security_group(self, name: str | None = None, group_id: str | None = None) -> None:
        """Delete a group, unless an interface still carries it."""
        group = self.get_security_group_by_name_or_id(group_id or name or "")
        if group is not None and any(group in interface.group_set for interface in self.enis.values()):
            raise DependencyViolationError(f"resource {group.id} has a dependent object")
        if group is not None and self._still_in_use(group.id):
            raise ApiError("DependencyViolation", group=group.id)
        super().delete_security_group(name, group_id)

    def _still_in_use(self, group_id: str) -> bool:
        """Whether a scenario wants EC2 to be late in noticing that nothing uses a group any more."""
        now = self.environment.clock.now()
        for rule in self.environment.fault_engine.active("group-in-use", Subject(region=self.region_name)):
            if group_id not in self._first_delete_attempt and not rule.trigger():
                continue
            if now - self._first_delete_attempt.setdefault(group_id, now) < rule.fault["seconds"]:
                return True
        return False

    def import_key_pair(self, *args: Any, **options: Any) -> KeyPair:
        """As moto, with the cloud's time."""
        return self._with_cloud_time(super().import_key_pair(*args, **options))

    def create_key_pair(self, *args: Any, **options: Any) -> KeyPair:
        """As moto, with the cloud's time."""
        return self._with_cloud_time(super().create_key_pair(*args, **options))

    def _with_cloud_time(self, pair: KeyPair) -> KeyPair:
        pair.create_time = self.environment.clock.utc()
        return pair

    def release_resources(self, instance: Instance) -> None:
        """Take disks, interfaces and addresses from an instance that has ended, and the tags of what is gone."""
        parts = [block.volume_id for _, block in instance.get_block_device_mapping]
        parts += [interface.id for interface in instance.nics.values()]
        instance.terminate()
        # Somebody else gets the address; nor does the instance hold a group any more.
        instance._private_ips.clear()
        instance.security_groups = []
        for interface in instance.nics.values():
            interface.private_ip_address, interface.private_ip_addresses = None, []
        for gone in set(parts) - set(self.volumes) - set(self.enis):
            self.tags.pop(gone, None)

    def delete_instance(self, instance: Instance) -> None:
        """Drop a terminated instance for good, with its tags."""
        for reservation in list(self.reservations.values()):
            reservation.instances = [other for other in reservation.instances if other.id != instance.id]
            if not reservation.instances:
                del self.reservations[reservation.id]
        self.tags.pop(instance.id, None)

    def _register(self, instance: Instance, options: dict[str, Any]) -> None:
        given = {spec.get("NetworkInterfaceId") for spec in options.get("nics", [])}
        for interface in instance.nics.values():
            interface.delete_on_termination = interface.id not in given
        if not instance.security_groups:
            instance.security_groups = list(instance.nics[0].group_set)
        _set_iops(instance, options.get("block_device_mappings", []))
        _set_times(instance, self.environment.clock.utc())
        _use_private_addresses(instance)
        pair = self.key_pairs.get(instance.key_name or "")
        self.context.lifecycle.register(instance, (pair.public_key.strip(),) if pair else ())

    def _in_states(self, instance_ids: list[str], states: Iterable[str], verb: str) -> list[Instance]:
        instances = self.known(instance_ids)
        for instance in instances:
            if instance.state not in states:
                words = f"The instance '{instance.id}' is not in a state from which it can be {verb}."
                raise EC2ClientError("IncorrectInstanceState", words)
        return instances

    def _transition(
        self, instance: Instance, wanted: bool, move: Callable[[Instance], None]
    ) -> tuple[Instance, InstanceState]:
        previous = copy.copy(instance._state)
        if wanted:
            move(instance)
        return instance, previous

    def _start(self, instance: Instance) -> None:
        instance.start()
        _use_private_addresses(instance)
        self.context.lifecycle.start(instance)

    def _stop(self, instance: Instance) -> None:
        for interface in instance.nics.values():
            interface.stop()
        self.context.lifecycle.stop(instance)


_TERMINATING = (SHUTTING_DOWN[0], 48)


def _use_private_addresses(instance: Instance) -> None:
    """A machine is reached from outside on the address that it has inside: loopback has no NAT."""
    for interface in instance.nics.values():
        if interface.public_ip:
            interface.public_ip = interface.private_ip_address


def _set_times(instance: Instance, now: datetime) -> None:
    """Give what a launch makes the cloud's time; moto takes the computer's."""
    for interface in instance.nics.values():
        interface.attach_time = now
    for _, block in instance.get_block_device_mapping:
        volume: Any = instance.ec2_backend.get_volume(block.volume_id)
        block.attach_time = volume.create_time = volume.attachment.attach_time = now


def _set_iops(instance: Instance, mappings: list[dict[str, Any]]) -> None:
    """Give the volumes the IOPS that the launch asked for."""
    wanted = {mapping["DeviceName"]: mapping["Ebs"].get("Iops") for mapping in mappings}
    for device, block in instance.get_block_device_mapping:
        if iops := wanted.get(device):
            instance.ec2_backend.get_volume(block.volume_id).iops = iops
