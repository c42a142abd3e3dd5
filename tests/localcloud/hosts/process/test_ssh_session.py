"""SSH sessions: commands, streams, terminals, file transfer, environment."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pexpect
import pytest

from tests.support.localcloud.clients import wait_until
from tests.support.localcloud.process_hosts import (
    NEEDS_OPENSSH,
    HostRig,
    RunningHost,
    has_openssh,
    open_rig,
    processes_of,
)

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
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRig]:
    yield from open_rig(tmp_path_factory.mktemp("ssh"), environ=OWNER)


@pytest.fixture(scope="module")
def host(rig: HostRig) -> RunningHost:
    return rig.boot(AWS_ENDPOINT_URL="http://endpoint")


@pytest.mark.slow
def test_stdout_stderr_and_exit_status_reach_the_client(host: RunningHost) -> None:
    process = host.run("echo out; echo err >&2; exit 7")
    assert (process.returncode, process.stdout, process.stderr) == (7, b"out\n", b"err\n")


def test_a_command_killed_by_a_signal_is_reported_with_it(host: RunningHost) -> None:
    async def die() -> tuple[str, bool, str, str] | None:
        async with host.connect() as connection:
            exit_signal: tuple[str, bool, str, str] | None = (await connection.run("kill -TERM $$")).exit_signal
            return exit_signal

    signal = asyncio.run(die())
    assert signal is not None
    assert signal[0] == "TERM"


def test_a_client_can_signal_its_command(host: RunningHost) -> None:
    async def interrupt() -> object:
        async with host.connect() as connection, connection.create_process("sleep 60 & wait; echo no") as process:
            process.send_signal("KILL")
            return (await asyncio.wait_for(process.wait(), 10)).exit_signal

    assert asyncio.run(interrupt())


def test_the_environment_has_nothing_of_the_owner_but_the_network(host: RunningHost) -> None:
    lines = host.run("/usr/bin/env -0").stdout.decode().rstrip("\0").split("\0")
    variables = dict(line.split("=", 1) for line in lines)
    # The shell adds these of its own accord.
    names = set(variables) - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert names == ALWAYS | NETWORK | {"AWS_ENDPOINT_URL"}
    assert CANARY not in str(variables)
    assert variables["USER"] == "ubuntu"
    assert variables["HOME"] == str(host.home) == host.output_of("pwd")
    assert host.spec.address in variables["no_proxy"]
    assert host.run(f"cat /proc/*/environ 2>/dev/null | grep -c {CANARY}").stdout == b"0\n"


def test_hostname_and_whoami_are_those_of_the_host(host: RunningHost) -> None:
    assert host.output_of("hostname; hostname -I; whoami").splitlines() == [
        host.spec.hostname,
        host.spec.address,
        "ubuntu",
    ]


@pytest.mark.slow
def test_a_hundred_megabytes_pass_in_both_directions(host: RunningHost) -> None:
    block = os.urandom(1_000_000)
    digest = hashlib.sha256(block * (BULK // len(block))).hexdigest()
    with subprocess.Popen([*host.ssh_command(), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin
        assert client.stdout
        feed = client.stdin

        def write() -> None:
            with feed:
                for _ in range(BULK // len(block)):
                    feed.write(block)

        writer = threading.Thread(target=write)
        writer.start()
        assert hashlib.sha256(client.stdout.read()).hexdigest() == digest
        writer.join()
        assert client.wait(10) == 0


def test_a_client_that_does_not_read_blocks_its_command(host: RunningHost) -> None:
    count = host.home / "count"
    loop = "while head -c 1000000 /dev/zero; do i=$((i+1)); echo $i > count; done"

    async def stall() -> int:
        async with host.connect() as connection, connection.create_process(loop, encoding=None) as process:
            await asyncio.to_thread(wait_until, lambda: _still(count))
            process.close()
            return int(count.read_text())

    # Its window, the channel's buffer and two pipes: some megabytes, not all that the command would write.
    assert asyncio.run(stall()) < 20


def _still(file: Path) -> bool:
    """Return whether a file was written, and not in the last half second."""
    return file.exists() and file.stat().st_size > 0 and time.time() - file.stat().st_mtime > 0.5


def test_a_command_may_close_its_input_early(host: RunningHost) -> None:
    assert host.run("head -c 5", stdin=b"x" * 5_000_000).stdout == b"xxxxx"


def test_an_interactive_shell_has_a_terminal_with_job_control(host: RunningHost) -> None:
    args = host.ssh_command()
    shell = pexpect.spawn(args[0], args[1:], encoding="utf-8", timeout=10, dimensions=(33, 101))
    prompt = r"ubuntu@ip-127-77-240-\d+:~\$ "
    shell.expect(prompt)
    for typed, answer in {
        "stty size": "33 101",
        "echo $0 $TERM": "-(bash|sh) xterm|-(bash|sh) dumb|-(bash|sh) .+",
        "type python3": str(host.spec.folder / "python/python3"),
    }.items():
        shell.sendline(typed)
        shell.expect(answer)
        shell.expect(prompt)
    shell.sendline("echo rea''dy; sleep 60")
    shell.expect("ready")
    wait_until(lambda: _in_foreground(host, "sleep"))
    shell.sendcontrol("z")
    shell.expect("Stopped")
    shell.sendline("fg")
    shell.expect("sleep 60")
    wait_until(lambda: _in_foreground(host, "sleep"))
    shell.sendcontrol("c")
    shell.expect(prompt)
    shell.setwinsize(20, 50)
    shell.sendline("for i in 1 2 3 4 5 6 7 8 9; do stty size | grep '20 50' && break; sleep 0.1; done")
    shell.expect("20 50\r\n")
    shell.sendline("exit 5")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 5


def _in_foreground(host: RunningHost, name: str) -> bool:
    """Return whether such a program runs in the foreground of a terminal of the host."""
    for pid in processes_of(host.spec.folder):
        with contextlib.suppress(OSError):
            command, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            state, _, group, _, _, foreground = rest.split()[:6]
            if command.endswith(f"({name}") and state == "S" and group == foreground:
                return True
    return False


def test_a_terminal_closes_with_its_command_despite_background_jobs(host: RunningHost) -> None:
    args = host.ssh_command("-tt")
    command = "nohup setsid sleep 30 & echo left $!; exit 4"
    process = subprocess.run([*args, command], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    assert process.returncode == 4
    assert b"left " in process.stdout


def transfer(host: RunningHost, program: str, *words: str, batch: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run scp or sftp as a user does, with the options of the host's ``ssh`` command."""
    options = [word if word != "-p" else "-P" for word in host.ssh_command()[1:-1]]
    return subprocess.run([program, *options, *words], input=batch, capture_output=True, timeout=30)


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "scp"])
def test_openssh_scp_succeeds_in_both_protocols_and_both_directions(
    host: RunningHost, tmp_path: Path, protocol: list[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "up").write_bytes(os.urandom(300_000))
    remote = f"ubuntu@{host.spec.address}"

    up = transfer(host, "scp", *protocol, "-r", str(folder), f"{remote}:{tmp_path.name}")
    down = transfer(host, "scp", *protocol, f"{remote}:{tmp_path.name}/up", str(tmp_path / "down"))
    missing = transfer(host, "scp", *protocol, f"{remote}:nothing", str(tmp_path / "none"))

    assert (up.returncode, up.stderr) == (0, b"")
    assert (down.returncode, down.stderr) == (0, b"")
    assert (tmp_path / "down").read_bytes() == (folder / "up").read_bytes()
    assert missing.returncode == 1
    assert b"No such file" in missing.stderr


def test_openssh_sftp_succeeds_and_fails_by_its_commands(host: RunningHost, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"content")
    remote = f"ubuntu@{host.spec.address}"

    done = transfer(host, "sftp", "-b", "-", remote, batch=f"put {tmp_path}/up there\nls\n".encode())
    failed = transfer(host, "sftp", "-b", "-", remote, batch=b"get nothing\n")

    assert done.returncode == 0, done.stderr
    assert (host.home / "there").read_bytes() == b"content"
    assert failed.returncode == 1


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_rsync_works_where_it_is_installed(host: RunningHost, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"content")
    shell = shlex.join(host.ssh_command()[:-1])

    done = subprocess.run(
        ["rsync", "-a", "-e", shell, f"{tmp_path}/up", f"ubuntu@{host.spec.address}:synced"], timeout=30, check=False
    )

    assert done.returncode == 0
    assert (host.home / "synced").read_bytes() == b"content"


def test_sftp_and_scp_transfer_files_relative_to_the_home_folder(host: RunningHost, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(os.urandom(300_000))

    async def transfer() -> str:
        async with host.connect() as connection:
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(tmp_path / "up"), "there")
                here = await sftp.realpath(".")
            await asyncssh.scp((connection, "there"), str(tmp_path / "down"))
            return str(here)

    assert asyncio.run(transfer()) == str(host.home)
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
