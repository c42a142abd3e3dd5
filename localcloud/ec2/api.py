"""EC2 API requests that are answered differently from moto."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response

from localcloud.aws.prices import spot_types
from localcloud.ec2 import images, launch_validation, placement_groups, reservations
from localcloud.ec2.backend import Ec2Region
from localcloud.ec2.capacity import LaunchRequest, spot_price
from localcloud.scenarios.fault_engine import FaultEngine
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Reservation

# GetConsoleOutput returns at most the last 64 KB.
_CONSOLE_BYTES = 64 * 1024
# Last console lines of a host that does not boot.
_PANIC = b"""\
[    1.395012] List of all partitions:
[    1.396377] No filesystem could mount root, tried:
[    1.398215] VFS: Cannot open root device "PARTUUID=f3a8b2c1-01" or unknown-block(0,0): error -6
[    1.402377] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    1.406119] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---
"""


class Ec2Api(EC2Response):
    """moto's request parser with corrected answers."""

    def run_instances(self) -> ActionResult:
        """Launch instances once per client token, after EC2's own validation.

        Contract: a-token-launches-once, a-token-binds-its-arguments, a-dry-run-launches-nothing.
        """
        launch_validation.validate_profile(self.params, account=self.current_account, partition=self.partition)
        # A dry run checks permissions and names, and must not consume the token.
        if self._get_param("DryRun"):
            launch_validation.validate(self.ec2_backend, self.params, LaunchRequest.from_params(self.params))
            return super().run_instances()
        token, fingerprint = self._get_param("ClientToken"), _fingerprint(self.params)
        previous = self.ec2_backend.launches.get(token)
        if previous is None:
            reservation = self._launch()
            if token:
                self.ec2_backend.launches[token] = (fingerprint, reservation)
        elif previous[0] != fingerprint:
            raise EC2ClientError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        else:
            reservation = previous[1]
        return ActionResult(reservation)

    def start_instances(self) -> ActionResult:
        """Return moto's answer with the actual states of the instances."""
        return self._with_states(super().start_instances())

    def stop_instances(self) -> ActionResult:
        """Return moto's answer with the actual states of the instances."""
        return self._with_states(super().stop_instances())

    def terminate_instances(self) -> ActionResult:
        """Return moto's answer with the actual states of the instances."""
        return self._with_states(super().terminate_instances())

    def create_image(self) -> ActionResult:
        """Make an image of an instance, with snapshots of its volumes and a copy of its host's disk."""
        self.error_on_dryrun()
        # NoDevice is an empty text, which is lost on the way here.
        mappings = self._get_param("BlockDeviceMappings", [])
        image = images.create(
            self.ec2_backend,
            self._get_param("InstanceId"),
            self._get_param("Name"),
            self._get_param("Description", ""),
            {part["ResourceType"]: part["Tags"] for part in self._get_param("TagSpecifications", [])},
            reboots=not self._get_bool_param("NoReboot", False),
            without={mapping["DeviceName"] for mapping in mappings if not mapping.get("Ebs")},
        )
        return ActionResult({"ImageId": image.id})

    def deregister_image(self) -> ActionResult:
        """Remove an image, and its snapshots if that is requested, which moto only answers."""
        answer = super().deregister_image()
        images.remove(
            self.ec2_backend,
            self._get_param("ImageId"),
            with_snapshots=self._get_bool_param("DeleteAssociatedSnapshots", False),
        )
        return answer

    def create_capacity_reservation(self) -> ActionResult:
        """Reserve capacity, from now on or from a later time."""
        return ActionResult({"CapacityReservation": reservations.create(self.ec2_backend, self.params)})

    def describe_capacity_reservations(self) -> ActionResult:
        """Return capacity reservations as they are now."""
        ids = self._get_param("CapacityReservationIds", [])
        return ActionResult({"CapacityReservations": reservations.describe(self.ec2_backend, ids)})

    def cancel_capacity_reservation(self) -> ActionResult:
        """End a capacity reservation."""
        reservations.cancel(self.ec2_backend, self._get_param("CapacityReservationId"))
        return ActionResult({"Return": True})

    def create_placement_group(self) -> ActionResult:
        """Make a placement group."""
        self.error_on_dryrun()
        return ActionResult({"PlacementGroup": placement_groups.create(self.ec2_backend, self.params)})

    def describe_placement_groups(self) -> ActionResult:
        """Return placement groups."""
        names, filters = self._get_param("GroupNames", []), self._filters_from_querystring()
        return ActionResult({"PlacementGroups": placement_groups.describe(self.ec2_backend, names, filters)})

    def delete_placement_group(self) -> ActionResult:
        """Delete a placement group that no instance uses."""
        placement_groups.delete(self.ec2_backend, self._get_param("GroupName"))
        return ActionResult({})

    def delete_key_pair(self) -> ActionResult:
        """Delete a key pair by id or name; moto knows names only, and reports success for an unknown id."""
        key_pair_id = self._get_param("KeyPairId")
        pairs = self.ec2_backend.key_pairs.values()
        # An unknown id becomes the empty name, for which moto deletes nothing, as EC2 does.
        self.params.setdefault("KeyName", next((pair.key_name for pair in pairs if pair.id == key_pair_id), ""))
        return super().delete_key_pair()

    def get_console_output(self) -> ActionResult:
        """Return the console output of an instance's host."""
        ec2: Ec2Region = self.ec2_backend
        (instance,) = ec2.known([self._get_param("InstanceId")])
        tracked = ec2.lifecycle.instances.get(instance.id)
        panic = _PANIC if tracked is not None and "boot-hangs" in tracked.faults else b""
        text = (ec2.context.console(instance.id) or panic)[-_CONSOLE_BYTES:]
        output = Base64EncodedString.from_raw_string(text.decode(errors="replace")) if text else None
        return ActionResult({"InstanceId": instance.id, "Timestamp": ec2.environment.clock.utc(), "Output": output})

    def describe_spot_price_history(self) -> ActionResult:
        """Return today's price of each instance type in each zone."""
        ec2: Ec2Region = self.ec2_backend
        filters = self._filters_from_querystring()
        instance_types = spot_types([*self._get_param("InstanceTypes", []), *filters.get("instance-type", [])])
        zones = [self._get_param("AvailabilityZone"), *filters.get("availability-zone", [])]
        zone_names = set(filter(None, zones)) or {zone for _, zone in launch_validation.offered_types(ec2.region_name)}
        pools = [
            Subject(ec2.region_name, zone, type=instance_type, market="spot")
            for instance_type in instance_types
            for zone in sorted(zone_names)
            if (instance_type, zone) in launch_validation.offered_types(ec2.region_name)
        ]
        now = ec2.environment.clock.utc()
        return ActionResult(
            {"SpotPriceHistory": [_spot_price(ec2.environment.fault_engine, pool, now) for pool in pools]}
        )

    def _with_states(self, answer: ActionResult) -> ActionResult:
        # moto reports pending, stopping or shutting-down even for instances that are already beyond that state.
        # The key differs by action: StartingInstances, StoppingInstances, TerminatingInstances.
        (changes,) = cast("dict[str, list[dict[str, Any]]]", answer.result).values()
        for change in changes:
            state = self.ec2_backend.get_instance(change["InstanceId"]).instance_state
            change["CurrentState"] = {"Code": state.code, "Name": state.name}
        return answer

    def _launch(self) -> Reservation:
        launch_validation.resolve(self.ec2_backend, self.params)
        reserved = reservations.check(self.ec2_backend, self.params)
        reservation = cast("Reservation", super().run_instances().result)
        placement_groups.register(self.ec2_backend, self.params, [item.id for item in reservation.instances])
        if reserved:
            reserved.instance_ids.update(instance.id for instance in reservation.instances)
        profile = self._get_param("IamInstanceProfile")
        launched: list[Any] = reservation.instances
        for instance in launched:
            if instance.lifecycle == "spot":
                # Contract: spot-instances-name-their-request. No request object exists: a one-time request ends with
                # its instance, so nothing can be asked about it later.
                instance.spot_instance_request_id = f"sir-{instance.id[-8:]}"
        if profile:
            # moto associates the profile with the first instance only.
            for instance in reservation.instances[1:]:
                self.ec2_backend.associate_iam_instance_profile(
                    instance_id=instance.id,
                    iam_instance_profile_name=profile.get("Name"),
                    iam_instance_profile_arn=profile.get("Arn"),
                )
        return reservation


def _fingerprint(params: dict[str, Any]) -> str:
    arguments = {name: value for name, value in params.items() if name != "ClientToken"}
    return hashlib.sha256(json.dumps(arguments, sort_keys=True, default=str).encode()).hexdigest()


def _spot_price(fault_engine: FaultEngine, pool: Subject, now: datetime) -> dict[str, Any]:
    return {
        "InstanceType": pool.type,
        "AvailabilityZone": pool.zone,
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": f"{spot_price(fault_engine, pool):.6f}",
        "Timestamp": now,
    }
