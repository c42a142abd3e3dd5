"""Faults of hosts: unreachable SSH, frozen or lost hosts, other host keys."""

from __future__ import annotations

import json
import socket
from typing import Any

import asyncssh

from localcloud.scenarios.scenario import make_fault
from tests.support.embedded_cloud import instances, wait_for_state, wait_until
from tests.support.embedded_instances import Launch, Play


def knock(address: str, *, seconds: float = 1.0) -> str:
    """What a connection to SSH's port meets."""
    try:
        with socket.create_connection((address, 22022), timeout=seconds) as link:
            return "ssh" if link.recv(4) == b"SSH-" else "closed"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError as error:
        # A silent port times out in recv, a dropped connection in connect.
        return "silent" if "link" in locals() else str(error) and "dropped"


def host_key(address: str) -> str:
    import asyncio

    key = asyncio.run(asyncssh.get_server_host_key(address, 22022))
    assert key is not None
    return key.get_fingerprint()


def test_hosts_refuse_drop_stay_silent_freeze_vanish_or_have_another_key(ec2: Any, launch: Launch, play: Play) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519")
    config = {"ssh_keys": {"ed25519_private": private.export_private_key().decode()}}
    play(
        make_fault("ssh-refused", where="host 0"),
        make_fault("ssh-dropped", where="host 1"),
        make_fault("ssh-silent", where="host 2"),
        make_fault("boot-hangs", where="host 3"),
        make_fault("other-host-key", where="host 4"),
        make_fault("user-data-ignored", where="host 5"),
        make_fault("host-frozen", where="host 6", when="1.5 s after running"),
        make_fault("host-lost", where="host 7", when="1.5 s after running"),
        make_fault("host-key-swapped", where="host 8", when="1.5 s after running"),
    )
    new = [one["InstanceId"] for one in launch(10, UserData="#cloud-config\n" + json.dumps(config))]
    found = [one["PublicIpAddress"] for one in wait_for_state(ec2, new, "running")]
    ours = private.get_fingerprint()
    for number in (4, 5, 6, 7, 8, 9):
        wait_until(lambda number=number: knock(found[number]) == "ssh")

    assert host_key(found[8]) == host_key(found[9]) == ours
    assert [knock(found[number]) for number in range(4)] == ["refused", "dropped", "silent", "refused"]
    assert ours not in (host_key(found[4]), host_key(found[5]))
    wait_until(lambda: knock(found[7]) == "refused")
    wait_until(lambda: knock(found[6], seconds=0.3) == "silent")
    wait_until(lambda: knock(found[8]) == "ssh" and host_key(found[8]) != ours)
    assert {one["State"]["Name"] for one in instances(ec2, new)} == {"running"}
