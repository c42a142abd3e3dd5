"""Opening a connection: login keys, and a precise error for every fault of network, host and key."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError
from orchestrator.ssh import SshClient
from orchestrator.ssh.connect import FAST_CIPHER
from tests.support.ssh.ssh_lab import PATIENCE_S, Lab, Listener, dropping, refusing


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("ssh-ed25519", "openssh"),
        ("ssh-ed25519", "pkcs8-pem"),
        ("ssh-rsa", "pkcs1-pem"),
        ("ssh-rsa", "pkcs8-pem"),
        ("ecdsa-sha2-nistp256", "openssh"),
        ("ecdsa-sha2-nistp256", "pkcs8-pem"),
    ],
)
def test_login_keys_of_the_usual_types_and_formats_open_a_host(
    lab: Lab, ssh_client: SshClient, kind: str, form: str
) -> None:
    path = lab.folder / f"{kind}.{form}.key"
    key = asyncssh.generate_private_key(kind)
    key.write_private_key(path, form)
    with (lab.folder / "authorized").open("ab") as authorized:
        authorized.write(key.export_public_key())

    assert ssh_client.run(lab.host(key_file=path), "echo in").stdout == "in\n"


def test_the_quickest_cipher_is_used_where_both_sides_have_it(lab: Lab, ssh_client: SshClient) -> None:
    """The default of paramiko costs twice the CPU time, which decides how long a large upload takes."""
    assert ssh_client.connect(lab.host()).transport.local_cipher == FAST_CIPHER


class TestReasons:
    """Each way of not connecting has its own name and its own words."""

    def failure(self, lab: Lab, timeout: float = 5, **changes: Any) -> ConnectError:
        with SshClient(REAL_CLOCK, connect_timeout_s=timeout) as ssh_client, pytest.raises(ConnectError) as caught:
            ssh_client.run(lab.host(**changes), "touch executed")
        assert not (lab.homes[0] / "executed").exists()
        assert str(caught.value).startswith("ml-0: ")
        return caught.value

    def test_refused_when_nothing_listens(self, lab: Lab) -> None:
        address, port = refusing()

        error = self.failure(lab, address=address, port=port)

        assert error.kind == "refused"
        assert f"nothing listens on {address} port {port}" in str(error)

    def test_dropped_when_packets_vanish(self, lab: Lab) -> None:
        with dropping() as (address, port):
            error = self.failure(lab, timeout=0.7, address=address, port=port)

        assert error.kind == "dropped"
        assert f"no answer from {address} port {port} for 0.7 s (packets dropped)" in str(error)
        assert "security group" in str(error)
        assert "RefreshAccess()" in str(error.fix)

    def test_no_route_when_the_kernel_knows_no_way(self, lab: Lab) -> None:
        assert self.failure(lab, address="255.255.255.255").kind == "no-route"

    def test_silent_when_it_accepts_and_says_nothing(self, lab: Lab) -> None:
        with Listener(lambda _: None) as mute:
            error = self.failure(lab, timeout=0.7, address=mute.address, port=mute.port)

        assert error.kind == "silent"
        # As long as it really took.
        assert re.search(r"accepts connections but does not respond for \d+\.\d s\n", str(error))

    def test_silent_when_it_hangs_after_its_greeting(self, lab: Lab) -> None:
        with Listener(lambda connection: connection.sendall(b"SSH-2.0-half\r\n")) as half:
            error = self.failure(lab, timeout=0.7, address=half.address, port=half.port)

        assert error.kind == "silent"

    @pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-1.0-old\r\n"])
    def test_refused_when_it_hangs_up_or_is_no_ssh_server(self, lab: Lab, greeting: bytes) -> None:
        def answer(connection: object) -> None:
            connection.sendall(greeting)  # type: ignore[attr-defined]
            connection.close()  # type: ignore[attr-defined]

        with Listener(answer) as other:
            assert self.failure(lab, address=other.address, port=other.port).kind == "refused"

    def test_auth_when_the_user_is_wrong(self, lab: Lab) -> None:
        error = self.failure(lab, user="ubuntu")

        assert error.kind == "auth"
        assert "user 'ubuntu'" in str(error)
        assert "ec2-user" in str(error.fix)

    def test_auth_when_the_key_is_another(self, lab: Lab) -> None:
        path, _ = lab.new_key("other")

        error = self.failure(lab, key_file=path)

        assert error.kind == "auth"
        assert str(path) in str(error)

    def test_key_file_when_the_private_key_cannot_be_used(self, lab: Lab, tmp_path: Path) -> None:
        locked, garbage = tmp_path / "locked", tmp_path / "garbage"
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(locked, passphrase="secret", rounds=50)
        garbage.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n")
        expected = {
            tmp_path / "none": "cannot be read",
            locked: "protected by a passphrase",
            garbage: "not a private key",
        }

        for path, words in expected.items():
            error = self.failure(lab, key_file=path)

            assert error.kind == "key-file"
            assert words in str(error)

    def test_host_key_when_another_machine_answers_and_it_gets_nothing(self, lab: Lab, impostor: Lab) -> None:
        other, keys = impostor.host(), (impostor.host_key, lab.host_key)

        error = self.failure(lab, address=other.address, port=other.port)

        assert error.kind == "host-key"
        assert all(asyncssh.import_public_key(key).get_fingerprint() in str(error) for key in keys)
        assert "i-00" in str(error)
        assert set(impostor.events()) == {"connect"}

    @pytest.mark.parametrize("noted", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "what AAAA"])
    def test_host_key_when_none_is_known_and_not_even_a_packet_is_sent(self, lab: Lab, noted: str) -> None:
        before = lab.count("connect")

        assert self.failure(lab, host_key=noted).kind == "host-key"
        assert lab.count("connect") == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (b"SSH-2.0-x\r\n" + bytes.fromhex("fffffffc"), "sent a packet of more than 256 KiB"),
        (b"x", "does not respond"),
    ],
)
def test_what_a_port_sends_without_end_is_not_held_in_memory(lab: Lab, begin: bytes, reason: str) -> None:
    sent_bytes = [0]

    def flood(connection: socket.socket) -> None:
        connection.sendall(begin)
        while connection.send(block):
            sent_bytes[0] += len(block)

    block = b"x" * (1 << 16)
    with (
        Listener(flood) as port,
        SshClient(REAL_CLOCK, connect_timeout_s=2) as ssh_client,
        pytest.raises(ConnectError, match=reason),
    ):
        ssh_client.connect(lab.host(address=port.address, port=port.port))

    # The buffers of both sockets included.
    assert sent_bytes[0] < 32 << 20


def test_a_program_that_met_hanging_hosts_ends_at_once(lab: Lab) -> None:
    with Listener(lambda connection: connection.sendall(b"SSH-2.0-half\r\n")) as half:
        program = f"""
from pathlib import Path
from orchestrator.core.errors import ConnectError
from orchestrator.core.host import Host
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.ssh import SshClient
key = Path({str(lab.key_file)!r})
host = Host("ml-0", {half.address!r}, "", {half.port}, "dev", key, {lab.host_key!r}, "i-0")
try:
    SshClient(REAL_CLOCK, connect_timeout_s=0.5).connect(host)
except ConnectError as error:
    print(error.kind)
"""
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert (done.stdout, done.stderr) == ("silent\n", "")
    assert time.monotonic() - started < PATIENCE_S
