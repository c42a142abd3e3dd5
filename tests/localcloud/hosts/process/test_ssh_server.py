"""A machine's SSH server as clients meet it: OpenSSH, asyncssh and paramiko."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pexpect
import pytest

from tests.support.embedded_cloud import wait_until
from tests.support.process_hosts import NEEDS_OPENSSH, Machine, Rig, has_openssh, open_rig, processes_of

pytestmark = pytest.mark.skipif(not has_openssh(), reason=NEEDS_OPENSSH)

BULK = 100_000_000
CANARY = "AKIACANARYCANARY"
OWNER = {
    "HOME": "/nonexistent/home",
    "AWS_ACCESS_KEY_ID": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "GITHUB_TOKEN": CANARY,
    "PIP_INDEX_URL": "https://index.example/simple",
    "PIP_TARGET": CANARY,
    "SSL_CERT_FILE": "/etc/ssl/cert.pem",
    "https_proxy": "http://proxy.example:3128",
}
ALWAYS = {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TMPDIR", "SSH_CONNECTION", "LOCALCLOUD_INSTANCE"}
NETWORK = {"PIP_INDEX_URL", "PIP_CACHE_DIR", "SSL_CERT_FILE", "https_proxy", "no_proxy", "NO_PROXY"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    yield from open_rig(tmp_path_factory.mktemp("ssh"), environ=OWNER)


@pytest.fixture(scope="module")
def machine(rig: Rig) -> Machine:
    return rig.boot(AWS_ENDPOINT_URL="http://endpoint")


# Commands


def test_output_error_and_exit_status_of_a_command_reach_the_client(machine: Machine) -> None:
    done = machine.run("echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_command_killed_by_a_signal_is_reported_as_such(machine: Machine) -> None:
    async def die() -> tuple[str, bool, str, str] | None:
        async with machine.connect() as connection:
            return (await connection.run("kill -TERM $$")).exit_signal

    signal = asyncio.run(die())
    assert signal is not None
    assert signal[0] == "TERM"


def test_a_client_can_signal_its_command(machine: Machine) -> None:
    async def interrupt() -> object:
        async with machine.connect() as connection, connection.create_process("sleep 60 & wait; echo no") as process:
            process.send_signal("KILL")
            return (await asyncio.wait_for(process.wait(), 10)).exit_signal

    assert asyncio.run(interrupt())


def test_the_environment_holds_what_the_machine_needs_and_nothing_of_the_owner(machine: Machine) -> None:
    lines = machine.run("/usr/bin/env -0").stdout.decode().rstrip("\0").split("\0")
    variables = dict(line.split("=", 1) for line in lines)
    # The shell adds these of its own accord.
    names = set(variables) - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert names == ALWAYS | NETWORK | {"AWS_ENDPOINT_URL"}
    assert CANARY not in str(variables)
    assert variables["USER"] == "ubuntu"
    assert variables["HOME"] == str(machine.home) == machine.say("pwd")
    assert machine.spec.address in variables["no_proxy"]
    assert machine.run(f"cat /proc/*/environ 2>/dev/null | grep -c {CANARY}").stdout == b"0\n"


def test_the_machine_knows_its_own_name_and_user(machine: Machine) -> None:
    assert machine.say("hostname; hostname -I; whoami").splitlines() == [
        machine.spec.hostname,
        machine.spec.address,
        "ubuntu",
    ]


def test_a_hundred_megabytes_pass_through_both_ways_unchanged(machine: Machine) -> None:
    block = os.urandom(1_000_000)
    digest = hashlib.sha256(block * (BULK // len(block))).hexdigest()
    with subprocess.Popen([*machine.ssh_words(), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin
        assert client.stdout
        feed = client.stdin

        def write() -> None:
            with feed:
                for _ in range(BULK // len(block)):
                    feed.write(block)

        writer = threading.Thread(target=write)
        writer.start()
        assert hashlib.file_digest(client.stdout, "sha256").hexdigest() == digest
        writer.join()
        assert client.wait(10) == 0


def test_a_client_that_does_not_read_holds_its_command_back(machine: Machine) -> None:
    count = machine.home / "count"
    loop = "while head -c 1000000 /dev/zero; do i=$((i+1)); echo $i > count; done"

    async def stall() -> int:
        async with machine.connect() as connection, connection.create_process(loop, encoding=None) as process:
            await asyncio.to_thread(wait_until, lambda: _still(count))
            process.close()
            return int(count.read_text())

    # Its window, the channel's buffer and two pipes: some megabytes, not all that the command would write.
    assert asyncio.run(stall()) < 20


def _still(file: Path) -> bool:
    """Whether a file that was written before has not been for half a second."""
    return file.exists() and file.stat().st_size > 0 and time.time() - file.stat().st_mtime > 0.5


def test_a_command_that_closes_its_input_early_still_ends_well(machine: Machine) -> None:
    assert machine.run("head -c 5", stdin=b"x" * 5_000_000).stdout == b"xxxxx"


def test_many_sessions_at_once_share_one_connection_and_many_connections_one_machine(machine: Machine) -> None:
    async def crowd() -> list[str]:
        connections = await asyncio.gather(*(machine.connect() for _ in range(10)))
        replies = await asyncio.gather(
            *(connection.run(f"echo {n}") for n, connection in enumerate(connections * 5)), return_exceptions=False
        )
        for connection in connections:
            connection.close()
        return [str(reply.stdout).strip() for reply in replies]

    assert asyncio.run(crowd()) == [str(number) for number in range(50)]


# Who gets in


@pytest.mark.parametrize("wrong", ["user", "key", "password"])
def test_a_wrong_user_a_wrong_key_and_any_password_are_refused_as_sshd_does(machine: Machine, wrong: str) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(str(machine.rig.key_file))
    with paramiko.Transport((machine.spec.address, machine.spec.port)) as transport:
        transport.start_client(timeout=10)
        attempts = {
            "user": lambda: transport.auth_publickey("root", key),
            "key": lambda: transport.auth_publickey("ubuntu", paramiko.ECDSAKey.generate()),
            "password": lambda: transport.auth_password("ubuntu", "ubuntu"),
        }
        with pytest.raises(paramiko.AuthenticationException):
            attempts[wrong]()


def test_a_key_added_on_the_machine_opens_it(machine: Machine) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    machine.run("cat >> ~/.ssh/authorized_keys", stdin=key.export_public_key())

    async def log_in() -> object:
        async with machine.connect(key=key) as connection:
            return (await connection.run("echo in")).stdout

    assert asyncio.run(log_in()) == "in\n"


# Terminals


def test_an_interactive_shell_has_a_terminal_with_job_control(machine: Machine) -> None:
    words = machine.ssh_words()
    shell = pexpect.spawn(words[0], words[1:], encoding="utf-8", timeout=10, dimensions=(33, 101))
    prompt = r"ubuntu@ip-127-77-240-\d+:~\$ "
    shell.expect(prompt)
    for typed, answer in {
        "stty size": "33 101",
        "echo $0 $TERM": "-(bash|sh) xterm|-(bash|sh) dumb|-(bash|sh) .+",
        "type python3": str(machine.spec.folder / "python/python3"),
    }.items():
        shell.sendline(typed)
        shell.expect(answer)
        shell.expect(prompt)
    shell.sendline("echo rea''dy; sleep 60")
    shell.expect("ready")
    wait_until(lambda: _in_foreground(machine, "sleep"))
    shell.sendcontrol("z")
    shell.expect("Stopped")
    shell.sendline("fg")
    shell.expect("sleep 60")
    wait_until(lambda: _in_foreground(machine, "sleep"))
    shell.sendcontrol("c")
    shell.expect(prompt)
    shell.setwinsize(20, 50)
    shell.sendline("for i in 1 2 3 4 5 6 7 8 9; do stty size | grep '20 50' && break; sleep 0.1; done")
    shell.expect("20 50\r\n")
    shell.sendline("exit 5")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 5


def _in_foreground(machine: Machine, name: str) -> bool:
    """Whether such a program runs, not stopped, in the foreground of some terminal of the machine."""
    for pid in processes_of(machine.spec.folder):
        with contextlib.suppress(OSError):
            found, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            state, _, group, _, _, foreground = rest.split()[:6]
            if found.endswith(f"({name}") and state == "S" and group == foreground:
                return True
    return False


def test_a_terminal_closes_with_its_command_even_if_a_job_stays_behind(machine: Machine) -> None:
    words = machine.ssh_words("-tt")
    command = "nohup setsid sleep 30 & echo left $!; exit 4"
    done = subprocess.run([*words, command], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    assert done.returncode == 4
    assert b"left " in done.stdout


# Files


def test_files_go_up_and_down_by_sftp_and_scp_relative_to_the_home_folder(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(os.urandom(300_000))

    async def transfer() -> str:
        async with machine.connect() as connection:
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(tmp_path / "up"), "there")
                here = await sftp.realpath(".")
            await asyncssh.scp((connection, "there"), str(tmp_path / "down"))
            return str(here)

    assert asyncio.run(transfer()) == str(machine.home)
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()


# Tunnels


def _tunnel_reply(machine: Machine, host: str, port: int) -> bytes:
    async def ask() -> bytes:
        async with machine.connect() as connection:
            reader, writer = await connection.open_connection(host, port, encoding=None)
            reply: bytes = await reader.read()
            writer.close()
            return reply

    return asyncio.run(ask())


def _greeter(address: str) -> socket.socket:
    """A listener outside every machine that says hello once."""
    listener = socket.create_server((address, 0))

    def greet() -> None:
        with listener, listener.accept()[0] as client:
            client.sendall(b"hello")

    threading.Thread(target=greet, daemon=True).start()
    return listener


def test_tunnels_lead_to_the_network_of_the_machines(machine: Machine) -> None:
    assert _tunnel_reply(machine, "127.77.240.254", _greeter("127.77.240.254").getsockname()[1]) == b"hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "192.0.2.1", "example.com"])
def test_tunnels_do_not_lead_to_the_user_s_own_services_or_anywhere_else(machine: Machine, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own, pytest.raises(asyncssh.ChannelOpenError):
        _tunnel_reply(machine, host, own.getsockname()[1])


def test_a_tunnel_to_localhost_reaches_what_the_machine_itself_serves_there(machine: Machine) -> None:
    server = "import socket as s; l = s.create_server(('127.0.0.1', 0)); print(l.getsockname()[1], flush=True)\n"
    script = f"{server}\nl.accept()[0].sendall(b'mine')"
    with subprocess.Popen([*machine.ssh_words(), "python3 -"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as served:
        assert served.stdin
        assert served.stdout
        served.stdin.write(script.encode())
        served.stdin.close()
        assert _tunnel_reply(machine, "localhost", int(served.stdout.readline())) == b"mine"
