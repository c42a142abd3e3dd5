"""Ways to VMs without public addresses: a command whose input and output are the connection (ProxyCommand).

    jump host      ssh -W ADDRESS:PORT USER@JUMP, with the user's own SSH setup for the jump host
    eice-...       aws ec2-instance-connect open-tunnel
    ssm            aws ssm start-session, with its session manager plugin

The same command is in the SSH config for plain ssh and editors.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from orchestrator.core.errors import ConnectError, UsageError
from orchestrator.core.host import Host

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings

SSM = "ssm"
_ENDPOINT = re.compile(r"eice-[0-9a-f]+")

_NEEDED = {
    "ssh": "install OpenSSH's client",
    "aws": "install the AWS CLI, version 2: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    "session-manager-plugin": "install it: https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "session-manager-working-with-install-plugin.html",
}
_PERMANENT = (
    "host key verification failed",
    "permission denied",
    "could not resolve hostname",
    "unable to locate credentials",
    "accessdenied",
    "unauthorized",
    "not found",
)
"""Parts of messages, in lower case, after which another attempt would fail in the same way."""

_STDERR_BYTES = 8192


def is_jump_host(via: str) -> bool:
    """Return True if a value of ``[ssh] via`` is a jump host."""
    return bool(via) and via != SSM and not _ENDPOINT.fullmatch(via)


def check_programs(via: str) -> None:
    """Check that the programs of a way are here.

    :raises UsageError: one is missing.
    """
    needed = ["ssh"] if is_jump_host(via) else ["aws", *(["session-manager-plugin"] if via == SSM else [])]
    for program in needed if via else []:
        if shutil.which(program) is None:
            raise UsageError(f"[ssh] via = {via} needs the program {program}, which is not here", fix=_NEEDED[program])


def proxy_command(settings: Settings, *, address: str, port: int, instance_id: str) -> str:
    """Return the command to a VM, for a shell; empty if it is reached directly."""
    via, ssh = settings.ssh.via, settings.ssh
    if not via:
        return ""
    if is_jump_host(via):
        return shlex.join(_jump(via, f"{address}:{port}", ssh.via_key, ssh.via_known_hosts))
    where = ["--region", settings.aws.region, *(["--profile", settings.aws.profile] if settings.aws.profile else [])]
    if via == SSM:
        session = ["--document-name", "AWS-StartSSHSession", "--parameters", f"portNumber={port}"]
        return shlex.join(["aws", "ssm", "start-session", "--target", instance_id, *session, *where])
    tunnel = ["--instance-id", instance_id, "--remote-port", str(port), "--instance-connect-endpoint-id", via]
    return shlex.join(["aws", "ec2-instance-connect", "open-tunnel", *tunnel, *where])


def _jump(via: str, target: str, key: str, known_hosts: str) -> list[str]:
    host, _, port = via.partition(":")
    # Never asks, and connects to no host whose key is not known: both are for the user to do once, by hand.
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10", "ForwardAgent=no"]
    options += ["ClearAllForwardings=yes", "ServerAliveInterval=15", "LogLevel=ERROR"]
    if known_hosts:
        options += [f"UserKnownHostsFile={known_hosts}", "GlobalKnownHostsFile=/dev/null"]
    if key:
        options += ["IdentitiesOnly=yes", f"IdentityFile={key}"]
    flags = [part for option in options for part in ("-o", option)]
    return ["ssh", *flags, *(["-p", port] if port else []), "-W", target, host]


@dataclass(frozen=True)
class Proxy:
    """A connection through a command.

    :param sock: this computer's end.
    """

    host: Host
    sock: socket.socket
    process: subprocess.Popen[bytes]
    messages: IO[bytes]

    def explain(self, error: ConnectError) -> ConnectError:
        """Return an error of the connection, with the last message of the command if there is one."""
        self.messages.seek(0)
        lines = self.messages.read(_STDERR_BYTES).decode(errors="replace").strip().splitlines()
        if not lines:
            return error
        text = next((line for line in lines if _is_permanent(line)), lines[-1]).strip()
        message = f"ssh via {_name(self.host.proxy_command)}: {text}"
        if not _is_permanent(text):
            return ConnectError(error.kind, message, where=self.host.name, fix=error.fix)
        # As for an unusable key file: neither time nor another VM would help.
        return ConnectError("key-file", message, where=self.host.name, fix=_advice(self.host.proxy_command, text))


def open_proxy(host: Host) -> Proxy:
    """Start the command of a host, connected to a socket.

    :raises ConnectError: it cannot be started.
    """
    own, other = socket.socketpair()
    messages = tempfile.TemporaryFile()  # noqa: SIM115 - read when the connection fails, closed with the record
    try:
        with other:
            process = subprocess.Popen(
                shlex.split(host.proxy_command),
                stdin=other.fileno(),
                stdout=other.fileno(),
                stderr=messages,
                # Ctrl-C is for this program, which may still need the connection.
                start_new_session=True,
            )
    except OSError as error:
        own.close()
        program = shlex.split(host.proxy_command)[0]
        message = f"ssh: {program}, the way to this VM, cannot be started: {error.strerror}"
        raise ConnectError("key-file", message, where=host.name, fix=_NEEDED.get(program, "")) from error
    # The command ends with the connection; without a wait it would stay a zombie.
    threading.Thread(target=process.wait, name="ssh-via", daemon=True).start()
    return Proxy(host, own, process, messages)


def _is_permanent(text: str) -> bool:
    return any(part in text.lower() for part in _PERMANENT)


def _name(command: str) -> str:
    argv = shlex.split(command)
    return argv[-1] if argv[0] == "ssh" else " ".join(argv[:3])


def _advice(command: str, text: str) -> str:
    argv = shlex.split(command)
    if argv[0] != "ssh":
        return "the credentials of [aws] profile need the permission for that command"
    port = f" -p {argv[argv.index('-p') + 1]}" if "-p" in argv else ""
    if "host key" in text.lower():
        return f"connect to it once and compare its key: ssh{port} {argv[-1]}"
    return f"ssh{port} {argv[-1]}  must work without a question: set [ssh] via, via_key, or ~/.ssh/config"
