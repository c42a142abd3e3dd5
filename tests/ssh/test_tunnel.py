"""Tunnels: many at a time, through refusals and lost connections, and nothing left behind when they close."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.ssh import SshClient, Tunnel
from tests.support.ssh.ssh_lab import Lab, Listener, refusing
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("tunnel"), first=130)
    yield lab
    lab.stop()


def shout(connection: socket.socket) -> None:
    """Answer all that is said, in capitals, once it was said to its end."""
    said = b""
    while data := connection.recv(1 << 16):
        said += data
    connection.sendall(said.upper())
    connection.close()


@pytest.fixture
def target() -> Iterator[Listener]:
    with Listener(shout) as listener:
        yield listener


def ask(tunnel: Tunnel, words: bytes) -> bytes:
    answer = b""
    with socket.create_connection((tunnel.address, tunnel.port), timeout=20) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(1 << 16):
            answer += data
    return answer


def test_what_goes_in_here_comes_out_there_and_back(lab: Lab, ssh_client: SshClient, target: Listener) -> None:
    tunnel = ssh_client.forward(lab.host(), target.port, target_address=target.address)

    assert ask(tunnel, b"hello") == b"HELLO"
    assert ask(tunnel, b"x" * 5_000_000) == b"X" * 5_000_000


def test_without_a_target_it_leads_to_the_hosts_private_address(
    lab: Lab, ssh_client: SshClient, target: Listener
) -> None:
    tunnel = ssh_client.forward(lab.host(private_address=target.address), target.port)

    assert ask(tunnel, b"private") == b"PRIVATE"


def test_ten_connections_at_a_time_do_not_disturb_one_another(
    lab: Lab, ssh_client: SshClient, target: Listener
) -> None:
    tunnel = ssh_client.forward(lab.host(), target.port, target_address=target.address)
    answers: dict[int, bytes] = {}

    def talk(number: int) -> None:
        answers[number] = ask(tunnel, f"word {number} ".encode() * 20_000)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert answers == {number: f"WORD {number} ".encode() * 20_000 for number in range(10)}


def test_a_target_that_refuses_ends_one_connection_and_not_the_tunnel(lab: Lab, ssh_client: SshClient) -> None:
    address, port = refusing()
    connection = ssh_client.connect(lab.host())
    tunnel = ssh_client.forward(lab.host(), port, target_address=address)

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            ask(tunnel, b"anyone?")
    server = socket.create_server((address, port))
    with Listener(shout, address) as late:
        server.close()
        assert ask(ssh_client.forward(lab.host(), late.port, target_address=address), b"late") == b"LATE"
    assert ssh_client.connect(lab.host()) is connection


def test_it_works_again_after_the_ssh_connection_was_lost(lab: Lab, ssh_client: SshClient, target: Listener) -> None:
    tunnel = ssh_client.forward(lab.host(), target.port, target_address=target.address)
    assert ask(tunnel, b"one") == b"ONE"
    connection = ssh_client.connect(lab.host())
    lab.stop()
    lab.start()
    wait_until(lambda: not connection.transport.is_active())

    assert ask(tunnel, b"two") == b"TWO"


@pytest.mark.slow
def test_closing_ends_connections_and_threads(lab: Lab, ssh_client: SshClient) -> None:
    before = set(threading.enumerate())
    with Listener(lambda connection: connection.sendall(b"hello")) as talker:
        tunnel = ssh_client.forward(lab.host(), talker.port, target_address=talker.address)
        with socket.create_connection((tunnel.address, tunnel.port), timeout=10) as connection:
            assert connection.recv(5) == b"hello"

            tunnel.close()
            tunnel.close()

            assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((tunnel.address, tunnel.port), timeout=10)
    names = {"tunnel", "tunnel-up"}
    wait_until(lambda: not [one for one in threading.enumerate() if one not in before and one.name in names])


def test_a_port_can_be_chosen_and_a_taken_one_is_named(lab: Lab, ssh_client: SshClient, target: Listener) -> None:
    free = ssh_client.forward(lab.host(), target.port, target_address=target.address)
    free.close()

    chosen = ssh_client.forward(lab.host(), target.port, target_address=target.address, local_port=free.port)

    assert chosen.port == free.port
    assert ask(chosen, b"chosen") == b"CHOSEN"
    with pytest.raises(HostError, match=rf"cannot listen on local port {free.port}: Address already in use"):
        ssh_client.forward(lab.host(), target.port, local_port=free.port)
    with pytest.raises(HostError, match="cannot listen on local port 70000"):
        ssh_client.forward(lab.host(), target.port, local_port=70000)


def test_it_listens_for_this_computer_only(lab: Lab, ssh_client: SshClient, target: Listener) -> None:
    tunnel = ssh_client.forward(lab.host(), target.port, target_address=target.address)

    assert tunnel.address == "127.0.0.1"


def test_without_a_session_there_is_no_tunnel(lab: Lab, ssh_client: SshClient) -> None:
    address, port = refusing()

    with pytest.raises(ConnectError):
        ssh_client.forward(lab.host(address=address, port=port), 80)


def test_closing_the_links_closes_their_tunnels(lab: Lab, target: Listener) -> None:
    with SshClient(REAL_CLOCK) as ssh_client:
        tunnel = ssh_client.forward(lab.host(), target.port, target_address=target.address)

    with pytest.raises(ConnectionRefusedError):
        ask(tunnel, b"anyone?")
