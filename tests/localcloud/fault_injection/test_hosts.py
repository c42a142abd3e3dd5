"""Faults of hosts: unreachable SSH, frozen or lost hosts, other host keys."""

from __future__ import annotations

import contextlib
import json
import socket
from functools import partial
from typing import Any

import asyncssh
import pytest

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import instances, wait_for_state, wait_until
from tests.support.localcloud.instances import Launch, Play
from tests.support.localcloud.ssh_port import knock


def is_up(address: str) -> bool:
    return knock(address) == "ssh"


def host_key(address: str) -> str:
    import asyncio

    key = asyncio.run(asyncssh.get_server_host_key(address, 22022))
    assert key is not None
    return key.get_fingerprint()


@pytest.mark.slow
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
    )
    new = [instance["InstanceId"] for instance in launch(10, UserData="#cloud-config\n" + json.dumps(config))]
    addresses = [instance["PublicIpAddress"] for instance in wait_for_state(ec2, new, "running")]
    own_key = private.get_fingerprint()
    for number in (4, 5, 6, 7, 8, 9):
        wait_until(partial(is_up, addresses[number]))

    assert host_key(addresses[8]) == host_key(addresses[9]) == own_key
    assert [knock(addresses[number]) for number in range(4)] == ["refused", "dropped", "silent", "refused"]
    assert own_key not in (host_key(addresses[4]), host_key(addresses[5]))
    # Only now: a host that is frozen while it boots never comes up.
    play(
        make_fault("host-frozen", where="host 6"),
        make_fault("host-lost", where="host 7"),
        make_fault("host-key-swapped", where="host 8"),
    )
    wait_until(lambda: knock(addresses[7]) == "refused")
    wait_until(lambda: knock(addresses[6], seconds=0.3) == "silent")
    wait_until(lambda: knock(addresses[8]) == "ssh" and host_key(addresses[8]) != own_key)
    assert {instance["State"]["Name"] for instance in instances(ec2, new)} == {"running"}


@pytest.mark.slow
def test_a_hostile_port_sends_a_banner_byte_by_byte_and_a_hostile_answer_replaces_a_command(
    ec2: Any, launch: Launch, play: Play, key: asyncssh.SSHKey
) -> None:
    instance_ids = [instance["InstanceId"] for instance in launch(2, KeyName="login")]
    addresses = [instance["PublicIpAddress"] for instance in wait_for_state(ec2, instance_ids, "running")]
    for address in addresses:
        wait_until(partial(is_up, address))
    play(
        make_fault("host-hostile", how="slow-banner", where="host 0"),
        make_fault("host-hostile", how="escapes", commands="*date*", where="host 1"),
    )

    def banner() -> bytes:
        with contextlib.suppress(OSError), socket.create_connection((addresses[0], 22022), timeout=3) as link:
            return link.recv(4)
        return b""

    wait_until(lambda: banner() == b"x")
    wait_until(lambda: "\x1b]0;owned" in output(addresses[1], key, "date"))
    assert output(addresses[1], key, "echo good") == "good\n"
    # A hostile host can be stopped, too: the fixture terminates it.


def output(address: str, key: asyncssh.SSHKey, command: str) -> str:
    import asyncio

    async def run() -> str:
        options: Any = {"username": "ubuntu", "client_keys": [key], "known_hosts": None, "config": None}
        async with asyncssh.connect(address, 22022, **options) as connection:
            return str((await connection.run(command, check=False)).stdout)

    return asyncio.run(run())
