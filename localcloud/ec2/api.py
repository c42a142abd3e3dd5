"""The requests that EC2 answers otherwise than moto."""

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
from localcloud.ec2 import launch_validation
from localcloud.ec2.capacity import LaunchRequest, spot_price
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Reservation

    from localcloud.ec2.backend import Ec2Region
    from localcloud.scenarios.fault_engine import FaultEngine

# GetConsoleOutput returns at most the last 64 KB.
_CONSOLE_BYTES = 64 * 1024
# What a machine that does not boot has written last.
_PANIC = b"""\
[    1.398215] VFS: Cannot open root device "PARTUUID=f3a8b2c1-01" or unknown-block(0,0): error -6
[    1.402377] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    1.406119] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---
"""


class Ec2Api(EC2Response):
    """moto's reading of requests, corrected."""

    def run_instances(self) -> ActionResult:
        """Launch once per client token, as many as asked, and only what EC2 would launch.

        Contract: a-token-launches-once, a-token-binds-its-arguments, a-dry-run-launches-nothing.
        """
        launch_validation.validate_profile(self.params, account=self.current_account, partition=self.partition)
        if self._get_param("DryRun"):
            launch_validation.validate(self.ec2_backend, self.params, LaunchRequest.from_params(self.params))
            return super().run_instances()
        token, order = self._get_param("ClientToken"), _fingerprint(self.params)
        known = self.ec2_backend.launches.get(token)
        if known is None:
            reservation = self._launch()
            if token:
                self.ec2_backend.launches[token] = (order, reservation)
        elif known[0] != order:
            raise EC2ClientError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        else:
            reservation = known[1]
        return ActionResult(reservation)

    def start_instances(self) -> ActionResult:
        """moto's answer, with the states that instances are really in."""
        return self._with_states(super().start_instances())

    def stop_instances(self) -> ActionResult:
        """moto's answer, with the states that instances are really in."""
        return self._with_states(super().stop_instances())

    def terminate_instances(self) -> ActionResult:
        """moto's answer, with the states that instances are really in."""
        return self._with_states(super().terminate_instances())

    def delete_key_pair(self) -> ActionResult:
        """By id as well as by name; moto knows the name only, and says yes to what it did not do."""
        wanted = self._get_param("KeyPairId")
        pairs = self.ec2_backend.key_pairs.values()
        self.params.setdefault("KeyName", next((pair.key_name for pair in pairs if pair.id == wanted), ""))
        return super().delete_key_pair()

    def get_console_output(self) -> ActionResult:
        """What the host wrote while it booted."""
        ec2: Ec2Region = self.ec2_backend
        (instance,) = ec2.known([self._get_param("InstanceId")])
        machine = ec2.lifecycle.instances.get(instance.id)
        hung = _PANIC if machine is not None and "boot-hangs" in machine.faults else b""
        text = (ec2.context.console(instance.id) or hung)[-_CONSOLE_BYTES:]
        output = Base64EncodedString.from_raw_string(text.decode(errors="replace")) if text else None
        return ActionResult({"InstanceId": instance.id, "Timestamp": ec2.environment.clock.utc(), "Output": output})

    def describe_spot_price_history(self) -> ActionResult:
        """One price for each type and zone: today's."""
        ec2: Ec2Region = self.ec2_backend
        filters = self._filters_from_querystring()
        kinds = spot_types([*self._get_param("InstanceTypes", []), *filters.get("instance-type", [])])
        zones = [self._get_param("AvailabilityZone"), *filters.get("availability-zone", [])]
        wanted = set(filter(None, zones)) or {zone for _, zone in launch_validation.offered_types(ec2.region_name)}
        places = [
            Subject(ec2.region_name, zone, type=kind, market="spot")
            for kind in kinds
            for zone in sorted(wanted)
            if (kind, zone) in launch_validation.offered_types(ec2.region_name)
        ]
        now = ec2.environment.clock.utc()
        return ActionResult(
            {"SpotPriceHistory": [_spot_price(ec2.environment.fault_engine, place, now) for place in places]}
        )

    def _with_states(self, answer: ActionResult) -> ActionResult:
        # moto always says pending, stopping, shutting-down, also of those that were there already.
        (changes,) = cast("dict[str, list[dict[str, Any]]]", answer.result).values()
        for change in changes:
            state = self.ec2_backend.get_instance(change["InstanceId"]).instance_state
            change["CurrentState"] = {"Code": state.code, "Name": state.name}
        return answer

    def _launch(self) -> Reservation:
        launch_validation.resolve(self.ec2_backend, self.params)
        reservation = cast("Reservation", super().run_instances().result)
        profile = self._get_param("IamInstanceProfile")
        launched: list[Any] = reservation.instances
        for instance in launched:
            if instance.lifecycle == "spot":
                # Contract: spot-instances-name-their-request. A made-up one: one-time requests end with the instance.
                instance.spot_instance_request_id = f"sir-{instance.id[-8:]}"
        if profile:
            # moto gives the role to the first instance only.
            for instance in reservation.instances[1:]:
                self.ec2_backend.associate_iam_instance_profile(
                    instance_id=instance.id,
                    iam_instance_profile_name=profile.get("Name"),
                    iam_instance_profile_arn=profile.get("Arn"),
                )
        return reservation


def _fingerprint(params: dict[str, Any]) -> str:
    order = {name: value for name, value in params.items() if name != "ClientToken"}
    return hashlib.sha256(json.dumps(order, sort_keys=True, default=str).encode()).hexdigest()


def _spot_price(weather: FaultEngine, place: Subject, now: datetime) -> dict[str, Any]:
    return {
        "InstanceType": place.type,
        "AvailabilityZone": place.zone,
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": f"{spot_price(weather, place):.6f}",
        "Timestamp": now,
    }
