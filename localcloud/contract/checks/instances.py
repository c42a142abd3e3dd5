"""Checks with running instances, which cost a few cents on AWS."""

from __future__ import annotations

import time

from localcloud.contract.check_context import TAG, CheckContext
from localcloud.contract.checks.expectations import Check, error_of, expect, expect_equal

_UNUSED_ID = "0123456789abcdef0"


def new_instances_are_pending(context: CheckContext) -> None:
    """Read the states in the answer to the launch."""
    expect_equal([instance["State"]["Name"] for instance in context.shared_launch["Instances"]], ["pending", "pending"])


def pending_instances_cannot_be_stopped(context: CheckContext) -> None:
    """Stop an instance right after its launch."""
    code, _ = error_of(context.ec2.stop_instances, InstanceIds=context.ids[:1])
    expect(code in ("IncorrectInstanceState", "InvalidInstanceID.NotFound"), code)


def a_launch_numbers_its_instances(context: CheckContext) -> None:
    """Read the launch indexes, which start at 0."""
    expect_equal(sorted(instance["AmiLaunchIndex"] for instance in context.shared_launch["Instances"]), [0, 1])


def a_token_launches_once(context: CheckContext) -> None:
    """Repeat the shared launch with the same token."""
    again = context.launch(2, **context.launch_args())
    expect_equal({instance["InstanceId"] for instance in again["Instances"]}, set(context.ids))


def a_token_binds_its_arguments(context: CheckContext) -> None:
    """Repeat the shared launch with the same token and other user data."""
    expect_equal(
        error_of(context.launch, count=2, **{**context.launch_args(), "UserData": "#!/bin/sh\n"})[0],
        "IdempotentParameterMismatch",
    )


def a_token_is_a_filter(context: CheckContext) -> None:
    """Find the shared instances by their token."""

    def instance_ids() -> set[str]:
        pages = context.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [context.tag]}])[
            "Reservations"
        ]
        return {instance["InstanceId"] for page in pages for instance in page["Instances"]}

    context.wait(lambda: instance_ids() == set(context.ids), seconds=60)


def tags_are_set_at_launch(context: CheckContext) -> None:
    """Find the tagged instances and their volumes."""
    context.wait(lambda: set(context.tagged_instances()) == set(context.ids), seconds=60)
    context.wait_for(context.ids, "running")
    tagged = [{"Name": f"tag:{TAG}", "Values": [context.tag]}]
    expect_equal(len(context.ec2.describe_volumes(Filters=tagged)["Volumes"]), 2)


def status_checks_take_time(context: CheckContext) -> None:
    """Read the status checks of instances that have just entered running."""
    context.wait_for(context.ids, "running")

    def checks() -> set[str]:
        statuses = context.ec2.describe_instance_status(InstanceIds=context.ids)["InstanceStatuses"]
        return {status["InstanceStatus"]["Status"] for status in statuses} if len(statuses) == 2 else set()

    expect(context.wait(checks) <= {"initializing", "ok"})
    context.wait(lambda: checks() == {"ok"}, seconds=600)


def console_shows_host_keys(context: CheckContext) -> None:
    """Find the host key of the user data in the console output."""

    def console() -> str:
        answer = context.ec2.get_console_output(InstanceId=context.ids[0])
        text: str = answer.get("Output", "")
        return text if "END SSH HOST KEY KEYS" in text else ""

    expect(context.host_key[1].split()[1] in context.wait(console, seconds=600))


def one_bad_id_fails_all(context: CheckContext) -> None:
    """Terminate a shared instance together with an unknown id."""
    code, _ = error_of(context.ec2.terminate_instances, InstanceIds=[context.ids[0], f"i-{_UNUSED_ID}"])
    expect_equal(code, "InvalidInstanceID.NotFound")
    # It may still be pending; if it had been terminated, it would never be running.
    context.wait_for(context.ids[:1], "running")


def protection_holds(context: CheckContext) -> None:
    """Terminate an instance with termination protection."""
    instance_id = context.ids[0]
    context.ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})
    code, _ = error_of(context.ec2.terminate_instances, InstanceIds=[instance_id])
    context.ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
    expect_equal(code, "OperationNotPermitted")


def groups_in_use_cannot_be_deleted(context: CheckContext) -> None:
    """Delete the shared instances' group."""
    context.wait_for(context.ids, "running")
    expect_equal(error_of(context.ec2.delete_security_group, GroupId=context.group)[0], "DependencyViolation")


def stopping_keeps_the_private_address(context: CheckContext) -> None:
    """Stop one of the shared instances."""
    ids = context.ids[:1]
    (before,) = context.wait_for(ids, "running")
    context.ec2.stop_instances(InstanceIds=ids)
    (stopped,) = context.wait_for(ids, "stopped")
    expect_equal((stopped["PrivateIpAddress"], "PublicIpAddress" in stopped), (before["PrivateIpAddress"], False))
    context.public_addresses_before_stop.append(before["PublicIpAddress"])


def launch_time_is_the_last_start(context: CheckContext) -> None:
    """Start the stopped instance at least a second later."""
    ids = context.ids[:1]
    (before,) = context.wait_for(ids, "stopped")
    # LaunchTime has a resolution of one second.
    time.sleep(1.1)
    context.ec2.start_instances(InstanceIds=ids)
    (after,) = context.wait_for(ids, "running")
    expect(after["LaunchTime"] > before["LaunchTime"], "it stays what it was")


def a_start_brings_another_public_address(context: CheckContext) -> None:
    """Compare the addresses of the instance that was stopped and started again."""
    (after,) = context.wait_for(context.ids[:1], "running")
    expect(after["PublicIpAddress"] not in context.public_addresses_before_stop, "it is the one from before the stop")
    expect(after["PublicIpAddress"] != after["PrivateIpAddress"], "it is the private one")


def a_shutdown_from_within_terminates_an_instance(context: CheckContext) -> None:
    """Launch an instance that shuts itself down at boot."""
    arguments = {"UserData": "#!/bin/sh\nshutdown -h now\n", "InstanceInitiatedShutdownBehavior": "terminate"}
    instance_id = context.launch(1, **arguments)["Instances"][0]["InstanceId"]
    (terminated,) = context.wait_for([instance_id], "terminated", seconds=600)
    expect_equal(terminated["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")


def terminating_passes_through_shutting_down(context: CheckContext) -> None:
    """Terminate the shared instances."""
    changes = context.ec2.terminate_instances(InstanceIds=context.ids)["TerminatingInstances"]
    expect_equal({change["CurrentState"]["Name"] for change in changes}, {"shutting-down"})
    terminated = context.wait_for(context.ids, "terminated", seconds=600)
    expect(not any("PrivateIpAddress" in change for change in terminated), "they keep their addresses")
    context.ec2.terminate_instances(InstanceIds=context.ids)


def root_disks_are_deleted_with_their_instance(context: CheckContext) -> None:
    """Wait until the shared instances' volumes are gone."""
    tagged = [{"Name": f"tag:{TAG}", "Values": [context.tag]}]
    context.wait(lambda: not context.ec2.describe_volumes(Filters=tagged)["Volumes"])


CHECKS: tuple[Check, ...] = (
    new_instances_are_pending,
    pending_instances_cannot_be_stopped,
    a_launch_numbers_its_instances,
    a_token_launches_once,
    a_token_binds_its_arguments,
    a_token_is_a_filter,
    tags_are_set_at_launch,
    status_checks_take_time,
    console_shows_host_keys,
    one_bad_id_fails_all,
    protection_holds,
    groups_in_use_cannot_be_deleted,
    stopping_keeps_the_private_address,
    launch_time_is_the_last_start,
    a_start_brings_another_public_address,
    a_shutdown_from_within_terminates_an_instance,
    terminating_passes_through_shutting_down,
    root_disks_are_deleted_with_their_instance,
)
