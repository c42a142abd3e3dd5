"""Simulated hosts: shutdown timers of user data, and reachability."""

from __future__ import annotations

import json

import pytest

from localcloud.hosts.simulated import shutdown_minutes
from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.in_memory import OpenCloud, client_without_retries, launch_in, states

TIMER = "#cloud-config\n" + json.dumps(
    {
        "write_files": [
            {
                "path": "/var/lib/cloud/scripts/per-boot/x",
                "permissions": "0755",
                "content": "#!/bin/sh\nshutdown -h +480\n",
            }
        ]
    }
)


def test_the_shutdown_timer_of_user_data_terminates_an_instance(open_cloud: OpenCloud) -> None:
    cloud = open_cloud()
    launch_in(cloud, 2, UserData=TIMER, InstanceInitiatedShutdownBehavior="terminate")
    cloud.clock.sleep(8 * 3600 - 60)
    assert states(cloud) == ["running", "running"]
    cloud.clock.sleep(120)

    assert cloud.live_instances() == []


def test_a_restart_restarts_the_shutdown_timer(open_cloud: OpenCloud) -> None:
    cloud = open_cloud()
    ids = launch_in(cloud, UserData=TIMER)
    ec2 = client_without_retries(cloud)
    cloud.clock.sleep(3600)
    ec2.stop_instances(InstanceIds=ids)
    cloud.clock.sleep(3600 * 24)
    ec2.start_instances(InstanceIds=ids)
    cloud.clock.sleep(7.9 * 3600)
    assert states(cloud) == ["running"]
    cloud.clock.sleep(600)

    assert states(cloud) == ["stopped"]


@pytest.mark.parametrize(
    ("data", "first", "later"),
    [
        ("", None, None),
        (TIMER, 480, 480),
        ("#!/bin/sh\nshutdown -h +30\n", 30, None),
        ("#!/bin/sh\n/sbin/shutdown -P +30\nif idle; then\n  shutdown -h now\nfi\n", 30, None),
        ("#!/bin/sh\nshutdown -h +30\nshutdown -c\n", None, None),
        ("#cloud-config\nbootcmd:\n- [shutdown, -h, '+9']\nruncmd:\n- shutdown -h +7\n", 7, 9),
        ("#!/bin/sh\n# shutdown -h +30\n", None, None),
    ],
)
def test_the_last_unconditional_shutdown_of_a_boot_counts(data: str, first: int | None, later: int | None) -> None:
    minutes = [shutdown_minutes(data.encode(), first_boot=boot) for boot in (True, False)]

    assert minutes == [first, later]


def test_ssh_faults_are_those_of_real_hosts(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(
        make_fault("ssh-dropped", where="host 1"),
        make_fault("boot-hangs", where="host 2"),
        make_fault("slow-boot", where="host 3", seconds=60),
        make_fault("host-lost", where="host 4", when="30 s after running"),
        make_fault("host-frozen", where="host 5", when="30 s after running", seconds=60),
    )
    ids = launch_in(cloud, 6)

    def ssh_faults() -> list[str]:
        return [cloud.ssh_fault(instance_id) for instance_id in ids]

    assert ssh_faults() == ["dropped"] * 6
    cloud.clock.sleep(17)
    assert ssh_faults() == ["refused", "dropped", *["refused"] * 4]
    cloud.clock.sleep(4)
    assert ssh_faults() == ["", "dropped", "refused", "refused", "", ""]
    cloud.clock.sleep(30)
    assert ssh_faults() == ["", "dropped", "refused", "refused", "refused", "silent"]
    cloud.clock.sleep(60)
    assert ssh_faults() == ["", "dropped", "refused", "", "refused", ""]
