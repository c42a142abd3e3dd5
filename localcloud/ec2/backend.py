"""EC2 of one region: moto's backend, corrected where EC2 behaves differently, with hosts behind its instances.

The corrections concern addresses, the states of instances and when they change, what the API shows, and which
resources may not be deleted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError, OperationNotPermitted4
from moto.ec2.utils import filter_reservations

from localcloud.aws.error_responses import ApiError
from localcloud.aws.images import IMAGES, SeededImage
from localcloud.core.addresses import ZONES_PER_REGION, AddressBlock, PublicAddresses
from localcloud.core.disk_folders import DiskFolders
from localcloud.ec2.ebs import EbsRegion
from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import SHUTTING_DOWN, Lifecycle
from localcloud.ec2.visibility import Visibility
from localcloud.hosts.interface import ImageStore
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance, InstanceState, Reservation
    from moto.ec2.models.key_pairs import KeyPair
    from moto.ec2.models.vpcs import VPC


@dataclass(frozen=True)
class BackendContext:
    """Values and services that the backends of all regions share.

    :param console: returns the console output of an instance's host.
    :param public_addresses: of all regions.
    :param on_ingress_change: called after a change of security groups or of their rules.
    :param images: disks of images that were made from instances.
    :param regions: regions in use, in the order of their first use.
    :param dispatch: view function that parses and answers requests to the EC2 API.
    :param disks: folders that stand for volumes.
    """

    environment: CloudEnvironment
    block: AddressBlock
    public_addresses: PublicAddresses
    lifecycle: Lifecycle
    on_ingress_change: Callable[[], None]
    console: Callable[[str], bytes]
    images: ImageStore
    regions: list[str]
    dispatch: Callable[..., Any]
    disks: DiskFolders


class Ec2Region(EbsRegion):
    """EC2 in one region. Every method is called with the cloud's lock held."""

    def __init__(self, region_name: str, account_id: str, *, context: BackendContext) -> None:
        self.context, self.environment, self.lifecycle = context, context.environment, context.lifecycle
        self.disks, self.on_volume_change = context.disks, context.lifecycle.invalidate
        self._visibility = Visibility(context.lifecycle, context.environment)
        # Time of the first failed attempt to delete each security group, on the cloud's clock.
        self._first_delete_attempt: dict[str, float] = {}
        self.launches: dict[str, tuple[str, Reservation]] = {}
        self.capacity_reservations: dict[str, Any] = {}
        self.placement_groups: dict[str, Any] = {}
        # moto creates the default VPC in here, which needs the attributes above.
        super().__init__(region_name, account_id)

    @property
    def flask_paths(self) -> dict[str, Callable[..., Any]]:
        """Route of all requests to the corrected API."""
        return {"/": self.context.dispatch}

    def create_default_vpc(self) -> VPC:
        """Create the default VPC inside the cloud's block, with a subnet for each of the first zones.

        The VPC is moto's once the block is used up.
        """
        regions = self.context.regions
        if self.region_name not in regions:
            regions.append(self.region_name)
        network = self.context.block.vpc_network(regions.index(self.region_name))
        # A cloud's block has room for four default VPCs; later regions get moto's, in which no host can listen.
        if network is None:
            return super().create_default_vpc()
        vpc = self.create_vpc(str(network), is_default=True)
        subnets = self.context.block.subnets(network)
        for zone, subnet in zip(self.describe_availability_zones()[:ZONES_PER_REGION], subnets, strict=False):
            self.create_subnet(vpc.id, str(subnet), availability_zone=zone.name)
        return vpc

    def _load_amis(self) -> None:
        for spec in IMAGES:
            image = SeededImage(self, spec)
            self.amis[image.id] = image

    def describe_instances(self, filters: Any = None) -> list[Reservation]:
        """Return the reservations of visible instances."""
        visible = self._visibility.reservations(self.all_reservations())
        return filter_reservations(visible, filters) if filters else visible

    def get_reservations_by_instance_ids(self, instance_ids: list[str], filters: Any = None) -> list[Reservation]:
        """Return the reservations of these instances.

        :raises InvalidInstanceIdError: one of them is not visible.
        """
        self.known(instance_ids)
        visible = self._visibility.reservations(self.all_reservations(), instance_ids)
        return filter_reservations(visible, filters) if filters else visible

    def known(self, instance_ids: Iterable[str]) -> list[Instance]:
        """Return the instances with these ids, each once.

        :raises InvalidInstanceIdError: naming those that do not exist or are not visible yet.
        """
        return self._visibility.select(self.all_instances(), instance_ids)

    def describe_instance_status(self, instance_ids: list[str], include_all_instances: bool, filters: Any) -> Any:
        """Return the status checks of running instances, or of all of them."""
        instances = self.known(instance_ids) if instance_ids else self.all_instances()
        shown = [instance for instance in instances if include_all_instances or instance.state == "running"]
        statuses = [self._visibility.status(instance) for instance in shown if self._visibility.is_visible(instance.id)]
        return [
            status for status in statuses if all(status.matches(rule["name"], rule["values"]) for rule in filters or ())
        ]

    def describe_instance_attribute(self, instance_id: str, attribute: str) -> Any:
        """Return moto's answer for a visible instance."""
        self.known([instance_id])
        return super().describe_instance_attribute(instance_id, attribute)

    def modify_instance_attribute(self, instance_id: str, key: str, value: Any) -> Any:
        """Change an attribute of a visible instance."""
        self.known([instance_id])
        return super().modify_instance_attribute(instance_id, key, value)

    def describe_tags(self, filters: Any = None) -> list[dict[str, str]]:
        """Return the tags of visible resources."""
        return [tag for tag in super().describe_tags(filters) if self._visibility.is_visible(tag["resource_id"])]

    def create_tags(self, resource_ids: list[str], tags: dict[str, str]) -> bool:
        """Tag visible resources."""
        self._visibility.require_visible(resource_ids)
        return bool(super().create_tags(resource_ids, tags))

    def run_instances(self, *args: Any, **options: Any) -> Reservation:
        """Create instances, all or none, and register them with the lifecycle."""
        before = set(self.reservations)
        try:
            # moto registers the reservation before it validates everything, so a failed launch would leave it behind.
            reservation = super().run_instances(*args, **options)
        except BaseException:
            for incomplete in set(self.reservations) - before:
                del self.reservations[incomplete]
            raise
        for instance in reservation.instances:
            self._register(instance, options)
        return reservation

    def start_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        """Start the stopped instances; running ones stay as they are."""
        instances = self._in_states(instance_ids, ("stopped", "pending", "running"), "started")
        return [self._transition(instance, instance.state == "stopped", self._start) for instance in instances]

    def stop_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        """Stop the running instances; stopped ones stay as they are."""
        instances = self._in_states(instance_ids, ("running", "stopping", "stopped"), "stopped")
        return [self._transition(instance, instance.state == "running", self._stop) for instance in instances]

    def terminate_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        """Terminate all instances or, if one is protected or unknown, none.

        Contract: one-bad-id-fails-all, protection-holds.
        """
        instances = self.known(instance_ids)
        for instance in instances:
            if instance.disable_api_termination:
                raise OperationNotPermitted4(instance.id)
        terminate = self.lifecycle.terminate
        return [
            self._transition(instance, instance.state_code not in _TERMINATING, terminate) for instance in instances
        ]

    def reboot_instances(self, instance_ids: list[str]) -> list[Instance]:
        """Restart the hosts of running instances."""
        instances = self._in_states(instance_ids, ("running",), "rebooted")
        for instance in instances:
            self.context.lifecycle.reboot(instance)
        return instances

    def delete_security_group(self, name: str | None = None, group_id: str | None = None) -> None:
        """Delete a group unless an interface uses it."""
        group = self.get_security_group_by_name_or_id(group_id or name or "")
        if group is not None and any(group in interface.group_set for interface in self.enis.values()):
            raise DependencyViolationError(f"resource {group.id} has a dependent object")
        if group is not None and self._still_in_use(group.id):
            raise ApiError("DependencyViolation", group=group.id)
        # moto deletes a group although instances use it, hence the checks above.
        super().delete_security_group(name, group_id)

    def authorize_security_group_ingress(self, *args: Any, **options: Any) -> Any:
        """Add rules, which take effect on running hosts."""
        answer = super().authorize_security_group_ingress(*args, **options)
        self.context.on_ingress_change()
        return answer

    def revoke_security_group_ingress(self, *args: Any, **options: Any) -> None:
        """Remove rules, which takes effect on running hosts."""
        super().revoke_security_group_ingress(*args, **options)
        self.context.on_ingress_change()

    def modify_security_group_rules(self, *args: Any, **options: Any) -> None:
        """Change rules, which takes effect on running hosts."""
        super().modify_security_group_rules(*args, **options)
        self.context.on_ingress_change()

    def modify_instance_security_groups(self, *args: Any, **options: Any) -> Any:
        """Replace the groups of an instance, which takes effect on its host."""
        instance: Instance = super().modify_instance_security_groups(*args, **options)
        # moto leaves the groups of the interface as they are, and an instance has the groups of both.
        instance.nics[0]._group_set = list(instance.security_groups)
        self.context.on_ingress_change()
        return instance

    def modify_network_interface_attribute(self, eni_id: str, *args: Any, **options: Any) -> None:
        """Change an interface; other groups take effect on its host."""
        super().modify_network_interface_attribute(eni_id, *args, **options)
        interface = self.get_network_interface(eni_id)
        if interface.instance is not None and interface.device_index == 0:
            interface.instance.security_groups = list(interface._group_set)
        self.context.on_ingress_change()

    def _still_in_use(self, group_id: str) -> bool:
        """Return whether a ``group-in-use`` fault makes EC2 report a group as used for a while after its last use."""
        now = self.environment.clock.now()
        for rule in self.environment.fault_engine.active("group-in-use", Subject(region=self.region_name)):
            if group_id not in self._first_delete_attempt and not rule.trigger():
                continue
            if now - self._first_delete_attempt.setdefault(group_id, now) < rule.fault["seconds"]:
                return True
        return False

    def import_key_pair(self, *args: Any, **options: Any) -> KeyPair:
        """Import a key pair, dated by the cloud's clock."""
        return self._with_cloud_time(super().import_key_pair(*args, **options))

    def create_key_pair(self, *args: Any, **options: Any) -> KeyPair:
        """Create a key pair, dated by the cloud's clock."""
        return self._with_cloud_time(super().create_key_pair(*args, **options))

    def _with_cloud_time(self, pair: KeyPair) -> KeyPair:
        pair.create_time = self.environment.clock.utc()
        return pair

    def assign_public_addresses(self, instance: Instance) -> None:
        """Give each interface that is to have a public address another one than ever before."""
        for interface in instance.nics.values():
            # moto keeps the request's text for some interfaces.
            if str(interface.public_ip_auto_assign).lower() == "true":
                interface.public_ip = self.context.public_addresses.assign()

    def release_public_addresses(self, instance: Instance) -> None:
        """Take back the public addresses of an instance that leaves running.

        Contract: stopping-keeps-the-private-address.
        """
        for interface in instance.nics.values():
            if interface.public_ip:
                self.context.public_addresses.release(interface.public_ip)
            interface.stop()

    def release_resources(self, instance: Instance) -> None:
        """Delete a terminated instance's disks and interfaces with their tags, and free its addresses."""
        resource_ids = [block.volume_id for _, block in instance.get_block_device_mapping]
        resource_ids += [interface.id for interface in instance.nics.values()]
        self.release_public_addresses(instance)
        # moto's terminate drops the volumes and interfaces that go with the instance.
        instance.terminate()
        # A later launch may get the address, and the group can be deleted from now on.
        instance._private_ips.clear()
        instance.security_groups = []
        for interface in instance.nics.values():
            interface.private_ip_address, interface.private_ip_addresses = None, []
        # Disks without DeleteOnTermination stay, and keep their tags.
        for resource_id in set(resource_ids) - set(self.volumes) - set(self.enis):
            self.tags.pop(resource_id, None)

    def delete_instance(self, instance: Instance) -> None:
        """Delete a terminated instance, which EC2 no longer lists, with its tags."""
        for reservation in list(self.reservations.values()):
            reservation.instances = [other for other in reservation.instances if other.id != instance.id]
            if not reservation.instances:
                del self.reservations[reservation.id]
        self.tags.pop(instance.id, None)

    def _register(self, instance: Instance, options: dict[str, Any]) -> None:
        existing = {spec.get("NetworkInterfaceId") for spec in options.get("nics", [])}
        for interface in instance.nics.values():
            # moto keeps every interface; EC2 deletes those that the launch created.
            interface.delete_on_termination = interface.id not in existing
            # moto assigns a public address at once, EC2 by the time at which the instance is running.
            interface.stop()
        # EC2 lists the default group for launches that name none.
        if not instance.security_groups:
            instance.security_groups = list(instance.nics[0].group_set)
        _set_iops(instance, options.get("block_device_mappings", []))
        _set_times(instance, self.environment.clock.utc())
        pair = self.key_pairs.get(instance.key_name or "")
        self.context.lifecycle.register(instance, (pair.public_key.strip(),) if pair else ())

    def _in_states(self, instance_ids: list[str], states: Iterable[str], verb: str) -> list[Instance]:
        instances = self.known(instance_ids)
        for instance in instances:
            if instance.state not in states:
                message = f"The instance '{instance.id}' is not in a state from which it can be {verb}."
                raise EC2ClientError("IncorrectInstanceState", message)
        return instances

    def _transition(
        self, instance: Instance, needed: bool, action: Callable[[Instance], None]
    ) -> tuple[Instance, InstanceState]:
        # A copy, because the state object is changed in place.
        previous = copy.copy(instance._state)
        if needed:
            action(instance)
        return instance, previous

    def _start(self, instance: Instance) -> None:
        instance.start()
        for interface in instance.nics.values():
            # moto's start assigns public addresses; these come with running.
            interface.stop()
        self.context.lifecycle.start(instance)

    def _stop(self, instance: Instance) -> None:
        self.context.lifecycle.stop(instance)


_TERMINATING = (SHUTTING_DOWN[0], 48)


def _set_times(instance: Instance, now: datetime) -> None:
    """Date what a launch created by the cloud's clock; moto uses the computer's."""
    for interface in instance.nics.values():
        interface.attach_time = now
    for _, block in instance.get_block_device_mapping:
        volume: Any = instance.ec2_backend.get_volume(block.volume_id)
        block.attach_time = volume.create_time = volume.attachment.attach_time = now


def _set_iops(instance: Instance, mappings: list[dict[str, Any]]) -> None:
    """Give the volumes the IOPS that the launch asked for."""
    iops_by_device = {mapping["DeviceName"]: mapping["Ebs"].get("Iops") for mapping in mappings}
    for device, block in instance.get_block_device_mapping:
        if iops := iops_by_device.get(device):
            instance.ec2_backend.get_volume(block.volume_id).iops = iops
