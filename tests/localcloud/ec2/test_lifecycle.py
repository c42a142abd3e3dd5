"""Lifecycle of instances and their hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.localcloud.clients import error_code, instances, wait_for_state, wait_until
from tests.support.localcloud.host_commands import output_on_host
from tests.support.localcloud.instances import Launch, ids


def test_an_instance_is_pending_before_it_runs(ec2: Any, launch: Launch) -> None:
    (new,) = launch()

    assert new["State"]["Name"] == "pending"
    assert instances(ec2, ids([new]))[0]["State"]["Name"] == "pending"
    assert wait_for_state(ec2, ids([new]), "running")[0]["StateTransitionReason"] == ""


@pytest.mark.slow
def test_stop_and_start_change_the_public_address_and_record_the_reason(ec2: Any, launch: Launch) -> None:
    (new,) = wait_for_state(ec2, ids(launch()), "running")
    changed = ec2.stop_instances(InstanceIds=ids([new]))["StoppingInstances"][0]
    (stopped,) = wait_for_state(ec2, ids([new]), "stopped")
    ec2.start_instances(InstanceIds=ids([new]))
    (again,) = wait_for_state(ec2, ids([new]), "running")

    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("running", "stopping")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopped["StateTransitionReason"].startswith("User initiated (")
    assert "PublicIpAddress" not in stopped
    assert stopped["PrivateIpAddress"] == again["PrivateIpAddress"] == new["PrivateIpAddress"]
    assert again["PublicIpAddress"] not in (new["PublicIpAddress"], new["PrivateIpAddress"])


def test_a_pending_instance_cannot_be_stopped(ec2: Any, launch: Launch) -> None:
    assert error_code(ec2.stop_instances, InstanceIds=ids(launch())) == "IncorrectInstanceState"


def test_terminating_passes_through_shutting_down_and_frees_disk_and_address(ec2: Any, launch: Launch) -> None:
    (new,) = launch()
    change = ec2.terminate_instances(InstanceIds=ids([new]))["TerminatingInstances"][0]
    (gone,) = wait_for_state(ec2, ids([new]), "terminated")
    again = ec2.terminate_instances(InstanceIds=ids([new]))["TerminatingInstances"][0]

    assert change["CurrentState"]["Name"] == "shutting-down"
    assert again["CurrentState"]["Name"] == "terminated"
    assert "PrivateIpAddress" not in gone
    assert gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    volume = new["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert error_code(ec2.describe_volumes, VolumeIds=[volume]) == "InvalidVolume.NotFound"


@pytest.mark.slow
@pytest.mark.parametrize(("behavior", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_shutdown_on_a_host_follows_the_instances_shutdown_behavior(
    ec2: Any, launch: Launch, key: Any, behavior: str, state: str
) -> None:
    launched = launch(KeyName="login", InstanceInitiatedShutdownBehavior=behavior)
    (new,) = wait_for_state(ec2, ids(launched), "running")

    output_on_host(new, key, "sudo shutdown -h now || shutdown -h now")

    (ended,) = wait_for_state(ec2, ids(launched), state)
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


@pytest.mark.slow
def test_files_survive_a_stop(ec2: Any, launch: Launch, key: Any) -> None:
    launched = launch(KeyName="login")
    output_on_host(wait_for_state(ec2, ids(launched), "running")[0], key, "echo kept > mine")
    ec2.stop_instances(InstanceIds=ids(launched))
    wait_for_state(ec2, ids(launched), "stopped")
    ec2.start_instances(InstanceIds=ids(launched))

    assert output_on_host(wait_for_state(ec2, ids(launched), "running")[0], key, "cat mine") == "kept"


def test_a_reboot_kills_processes_and_the_host_comes_back(ec2: Any, launch: Launch, key: Any) -> None:
    launched = launch(KeyName="login")
    (new,) = wait_for_state(ec2, ids(launched), "running")
    process = output_on_host(new, key, "nohup sleep 977 >/dev/null 2>&1 & echo $!")
    assert output_on_host(new, key, f"kill -0 {process} && echo alive") == "alive"

    ec2.reboot_instances(InstanceIds=ids(launched))

    wait_until(lambda: not Path("/proc", process).exists())
    assert output_on_host(new, key, "echo back") == "back"


def test_the_console_shows_the_boot_of_the_host(ec2: Any, launch: Launch) -> None:
    (new,) = ids(wait_for_state(ec2, ids(launch()), "running"))

    assert wait_until(lambda: ec2.get_console_output(InstanceId=new).get("Output"))
