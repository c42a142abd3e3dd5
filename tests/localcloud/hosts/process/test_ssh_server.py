"""SSH server of process hosts: authentication, concurrency, tunnels."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator

import asyncssh
import paramiko
import pytest

from tests.support.localcloud.process_hosts import NEEDS_OPENSSH, HostRig, RunningHost, has_openssh, open_rig

pytestmark = pytest.mark.skipif(not has_openssh(), reason=NEEDS_OPENSSH)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRig]:
    yield from open_rig(tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="module")
def host(rig: HostRig) -> RunningHost:
    return rig.boot(AWS_ENDPOINT_URL="http://endpoint")


def test_many_connections_with_many_sessions_work_at_once(host: RunningHost) -> None:
    async def crowd() -> list[str]:
        connections = await asyncio.gather(*(host.connect() for _ in range(10)))
        replies = await asyncio.gather(
            *(connection.run(f"echo {n}") for n, connection in enumerate(connections * 5)), return_exceptions=False
        )
        for connection in connections:
            connection.close()
        return [str(reply.stdout).strip() for reply in replies]

    assert asyncio.run(crowd()) == [str(number) for number in range(50)]


@pytest.mark.parametrize("wrong", ["user", "key", "password"])
def test_wrong_users_wrong_keys_and_passwords_are_refused(host: RunningHost, wrong: str) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(str(host.rig.key_file))
    with paramiko.Transport((host.spec.address, host.spec.port)) as transport:
        transport.start_client(timeout=10)
        attempts = {
            "user": lambda: transport.auth_publickey("root", key),
            "key": lambda: transport.auth_publickey("ubuntu", paramiko.ECDSAKey.generate()),
            "password": lambda: transport.auth_password("ubuntu", "ubuntu"),
        }
        with pytest.raises(paramiko.AuthenticationException):
            attempts[wrong]()


def test_a_key_added_on_the_host_can_log_in(host: RunningHost) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    host.run("cat >> ~/.ssh/authorized_keys", stdin=key.export_public_key())

    async def log_in() -> object:
        async with host.connect(key=key) as connection:
            return (await connection.run("echo in")).stdout

    assert asyncio.run(log_in()) == "in\n"


def _tunnel_reply(host: RunningHost, target: str, port: int) -> bytes:
    async def ask() -> bytes:
        async with host.connect() as connection:
            reader, writer = await connection.open_connection(target, port, encoding=None)
            reply: bytes = await reader.read()
            writer.close()
            return reply

    return asyncio.run(ask())


def _greeter(address: str) -> socket.socket:
    """Return a listener outside every host that sends hello to its first client."""
    listener = socket.create_server((address, 0))

    def greet() -> None:
        with listener, listener.accept()[0] as client:
            client.sendall(b"hello")

    threading.Thread(target=greet, daemon=True).start()
    return listener


def test_tunnels_lead_to_the_network_of_the_hosts(host: RunningHost) -> None:
    assert _tunnel_reply(host, "127.77.240.254", _greeter("127.77.240.254").getsockname()[1]) == b"hello"


@pytest.mark.parametrize("target", ["127.0.0.1", "localhost", "192.0.2.1", "example.com"])
def test_tunnels_do_not_lead_to_other_networks_or_local_services(host: RunningHost, target: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own, pytest.raises(asyncssh.ChannelOpenError):
        _tunnel_reply(host, target, own.getsockname()[1])


def test_a_tunnel_to_localhost_reaches_services_of_the_host(host: RunningHost) -> None:
    server = "import socket as s; l = s.create_server(('127.0.0.1', 0)); print(l.getsockname()[1], flush=True)\n"
    script = f"{server}\nl.accept()[0].sendall(b'mine')"
    with subprocess.Popen([*host.ssh_command(), "python3 -"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as served:
        assert served.stdin
        assert served.stdout
        served.stdin.write(script.encode())
        served.stdin.close()
        assert _tunnel_reply(host, "localhost", int(served.stdout.readline())) == b"mine"
