"""Opening of one SSH connection, with a precise error if it fails.

Only the pinned host key is accepted, and nothing of the user's own SSH setup (agent, default keys, config files,
known_hosts) is used. Errors of sockets and of paramiko are translated in this module only.
"""

from __future__ import annotations

import base64
import binascii
import errno
import importlib.util
import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.core.errors import ConnectError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.ssh.receive_limits import LimitedSocket, OversizedPacket
from orchestrator.ssh.via import open_proxy

if TYPE_CHECKING:
    import paramiko

T = TypeVar("T")

KEEPALIVE_S = 5
"""Seconds of silence after which a keepalive is sent: shorter than the timeout of any NAT."""

UNACKNOWLEDGED_MS = 30_000
"""Milliseconds that sent bytes may stay unacknowledged before the kernel closes the connection."""

FAST_CIPHER = "aes128-gcm@openssh.com"

_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EPERM, errno.EACCES}


@dataclass
class Connection:
    """An authenticated connection to a host.

    :param client: holds the host key that was checked.
    """

    host: Host
    client: paramiko.SSHClient
    transport: paramiko.Transport

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    @cached_property
    def fabric(self) -> Any:
        """This connection as a ``fabric.Connection``: ``run``, ``sudo``, ``put`` and ``get``, without our time limits.

        Its import takes as long as paramiko's, and Stratus's own commands need time limits that hold in a network
        partition: it is made when it is asked for.
        """
        import fabric

        config = fabric.Config(overrides={"load_ssh_configs": False}, lazy=True)
        connection = fabric.Connection(
            self.host.address,
            user=self.host.user,
            port=self.host.port,
            config=config,
            gateway=False,
            forward_agent=False,
        )
        connection.client, connection.transport = self.client, self.transport
        return connection


class _DeferredInvoke:
    """Finder whose Invoke is loaded when something reads an attribute of it, not when it is imported."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return Invoke's spec at its first import; nothing for any other module."""
        if name != "invoke":
            return None
        # Another thread may import it at the same moment.
        with suppress(ValueError):
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def defer_invoke() -> None:
    """Let paramiko import Invoke by name only.

    paramiko needs it for one clause of SSH configs, and its import takes longer than all that paramiko itself is.
    """
    is_deferred = any(isinstance(finder, _DeferredInvoke) for finder in sys.meta_path)
    if not is_deferred and not {"invoke", "paramiko"} & sys.modules.keys():
        sys.meta_path.insert(0, _DeferredInvoke())


def seconds(duration_s: float) -> str:
    """Return a duration, ``30 s`` or ``0.0003 s``; never ``0 s``, which would be no time at all."""
    return f"{duration_s:.0f} s" if duration_s >= 1 else f"{max(duration_s, 1e-4):.1g} s"


def call_with_timeout(work: Callable[[], T], timeout_s: float) -> T:
    """Return ``work()``, or raise TimeoutError after ``timeout_s``: several calls of paramiko wait without a limit.

    The abandoned call continues in a daemon thread until its socket is closed.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    # A daemon: an abandoned call must not keep the program from exiting.
    thread = threading.Thread(target=attempt, name="ssh-timeout", daemon=True)
    thread.start()
    thread.join(max(timeout_s, 0.0))
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {timeout_s:.1f} s")
    return results[0]


def open_connection(host: Host, *, timeout_s: float, tcp_timeout_s: float | None = None) -> Connection:
    """Open an authenticated connection to ``host``.

    :param timeout_s: seconds for everything: TCP, key exchange and login.
    :param tcp_timeout_s: seconds for TCP alone; shorter where a new attempt is better than a long wait.
    :raises ConnectError: kind ``refused``, ``dropped``, ``no-route``, ``silent``, ``auth``, ``host-key``, ``lost`` or
        ``key-file`` (the local private key cannot be used: no retry can help).
    """
    # paramiko prints a traceback for every failed attempt unless its logger has a handler.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    deadline = time.monotonic() + timeout_s
    try:
        return _open(host, timeout_s, tcp_timeout_s)
    except ConnectError as error:
        if error.kind != "host-key" or host.boot_key in ("", host.host_key):
            raise
        # A process that was rotating the key may have died in between: then the key of the launch is still in force.
        host_at_launch = replace(host, host_key=host.boot_key)
        try:
            return _open(host_at_launch, max(0.1, deadline - time.monotonic()), tcp_timeout_s)
        except ConnectError as second:
            raise (error if second.kind == "host-key" else second) from second


def _open(host: Host, timeout_s: float, tcp_timeout_s: float | None) -> Connection:
    host_key, login_key = expected_host_key(host), _login_key(host)
    deadline = time.monotonic() + timeout_s
    proxy = open_proxy(host) if host.proxy_command else None
    sock = proxy.sock if proxy else _connect_tcp(host, min(timeout_s, tcp_timeout_s or timeout_s))
    try:
        return _Handshake(host, sock, deadline).run(host_key, login_key)
    except ConnectError as error:
        sock.close()
        raise (proxy.explain(error) if proxy else error) from error
    # Also on Ctrl-C: until the handshake is complete, nothing else owns the socket.
    except BaseException:
        sock.close()
        raise


def expected_host_key(host: Host) -> paramiko.PKey:
    """Return the public key that ``host`` must present.

    :raises ConnectError: kind ``host-key``: none is known, or it is invalid.
    """
    import paramiko

    fields = host.host_key.split()
    if not fields:
        message = f"no host key is known for {host.identity or host.name}, so its identity cannot be verified"
        raise ConnectError("host-key", f"{message}; not connecting", where=host.name)
    try:
        return paramiko.PKey.from_type_string(fields[0], base64.b64decode(fields[1], validate=True))
    except (IndexError, binascii.Error, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        message = f"the host key stored for {host.identity or host.name} is invalid; not connecting"
        fix = "remove its line in ssh/pins of Stratus's home folder: the key in the VM's tags counts then"
        raise ConnectError("host-key", message, where=host.name, fix=fix) from error


def _login_key(host: Host) -> paramiko.PKey:
    """Return the private key for the login, read each time: the file may have been replaced."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    path = host.key_file.expanduser()
    try:
        return _parse_private_key(path.read_bytes())
    except OSError as error:
        raise _key_file_error(host, f"private key {path} cannot be read: {error.strerror}") from error
    except TypeError as error:
        message = f"private key {path} is protected by a passphrase, and Stratus does not ask for one"
        fix = "ssh-keygen -p -f FILE removes it; or let Stratus create a key for the cluster"
        raise _key_file_error(host, message, fix) from error
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException) as error:
        raise _key_file_error(host, f"{path} is not a private key that SSH can use") from error


def _parse_private_key(data: bytes) -> paramiko.PKey:
    """Parse a private key of any of the usual types and formats.

    paramiko does not read PKCS#8, and fails on a third of all ECDSA keys in OpenSSH format (5.1, tested): cryptography
    reads them all, and writes a format that paramiko reads.

    :raises TypeError: it is protected by a passphrase.
    :raises ValueError: it is not a private key.
    """
    import paramiko
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
        load_ssh_private_key,
    )

    try:
        private_key = load_ssh_private_key(data, None)
    except ValueError:
        private_key = load_pem_private_key(data, None)  # type: ignore[assignment]
    formats: list[tuple[type, type[paramiko.PKey], PrivateFormat]] = [
        (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key, PrivateFormat.OpenSSH),
        (rsa.RSAPrivateKey, paramiko.RSAKey, PrivateFormat.TraditionalOpenSSL),
        (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey, PrivateFormat.TraditionalOpenSSL),
    ]
    for kind, key_class, form in formats:
        if isinstance(private_key, kind):
            text = private_key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
            return key_class.from_private_key(io.StringIO(text))
    raise ValueError("neither Ed25519 nor RSA nor ECDSA")


def _key_file_error(host: Host, message: str, fix: str = "") -> ConnectError:
    return ConnectError("key-file", message, where=host.name, fix=fix)


def _connect_tcp(host: Host, timeout_s: float) -> socket.socket:
    """Return a TCP connection to the host; not by paramiko, which hides the reason of a failure."""
    try:
        sock = socket.create_connection((host.address, host.port), timeout=max(timeout_s, 0.01))
    except OSError as error:
        raise _tcp_error(host, error, timeout_s) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # With keepalives in flight, this closes a connection whose other side has left the network.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    return sock


def _tcp_error(host: Host, error: OSError, timeout_s: float) -> ConnectError:
    target = f"{host.address} port {host.port}"
    if isinstance(error, TimeoutError):
        message = f"ssh: no answer from {target} for {timeout_s:.1f} s (packets dropped)"
        cause = "its security group or a firewall blocks this computer's address, or the VM is off the network. "
        advice = "  allows SSH from the current address; the rules of a group of your own are yours to change"
        return ConnectError("dropped", message, where=host.name, fix=cause + NextStep("RefreshAccess") + advice)
    if isinstance(error, socket.gaierror):
        return ConnectError("no-route", f"ssh: cannot resolve {host.address!r}", where=host.name)
    if error.errno in _NO_ROUTE:
        message = f"ssh: no route to {target} ({error.strerror})"
        fix = "this computer is offline, a VPN is missing, or the address is private"
        return ConnectError("no-route", message, where=host.name, fix=fix)
    message = f"ssh: nothing listens on {target} ({error.strerror})"
    return ConnectError("refused", message, where=host.name, fix="the VM is booting, or its SSH server is down")


class _Handshake:
    """SSH handshake and login on an open socket."""

    def __init__(self, host: Host, sock: socket.socket, deadline: float) -> None:
        self.host = host
        self.sock = sock
        self.started = time.monotonic()
        # Never zero: sockets take that for non-blocking.
        self.timeout_s = max(deadline - self.started, 0.1)
        self.transport: paramiko.Transport | None = None

    def run(self, host_key: paramiko.PKey, login_key: paramiko.PKey) -> Connection:
        """Exchange keys, check the host key, log in."""
        client = self.prepare(host_key)
        try:
            call_with_timeout(partial(self.connect, client, login_key), self.timeout_s)
        except Exception as error:
            # Diagnosed before closing, which erases the state that distinguishes the faults.
            diagnosis = self.diagnose(error)
            self.abandon(client)
            raise diagnosis from error
        assert self.transport is not None
        # NAT gateways drop idle connections; AWS's does after 350 s.
        self.transport.set_keepalive(KEEPALIVE_S)
        return Connection(self.host, client, self.transport)

    def prepare(self, host_key: paramiko.PKey) -> paramiko.SSHClient:
        """Return a client that trusts one host key."""
        import paramiko

        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        address, port = self.host.address, self.host.port
        # The format of known_hosts, in which paramiko looks the key up.
        name = address if port == 22 else f"[{address}]:{port}"
        client.get_host_keys().add(name, host_key.get_name(), host_key)
        return client

    def connect(self, client: paramiko.SSHClient, login_key: paramiko.PKey) -> None:
        """Exchange keys and log in with one key; the user's own SSH setup has no effect: no agent, no default keys."""
        options: dict[str, Any] = {
            "sock": LimitedSocket(self.sock),
            "pkey": login_key,
            "allow_agent": False,
            "look_for_keys": False,
            "timeout": self.timeout_s,
            "banner_timeout": self.timeout_s,
            "auth_timeout": self.timeout_s,
            "transport_factory": self.new_transport,
        }
        client.connect(self.host.address, port=self.host.port, username=self.host.user, **options)

    def new_transport(self, sock: socket.socket, **options: Any) -> paramiko.Transport:
        """Create the transport and keep it: its progress distinguishes the faults."""
        import paramiko

        self.transport = paramiko.Transport(sock, **options)
        self.transport.handshake_timeout = self.timeout_s
        # Encrypts and authenticates in one pass: half the CPU time of AES-CTR with HMAC.
        ciphers = self.transport.get_security_options()
        ciphers.ciphers = sorted(ciphers.ciphers, key=lambda name: name != FAST_CIPHER)
        return self.transport

    def abandon(self, client: paramiko.SSHClient) -> None:
        """Close a half-open connection, and the timer thread that paramiko would leave behind."""
        if self.transport is not None:
            self.transport.packetizer.complete_handshake()
        client.close()
        self.sock.close()

    def diagnose(self, error: Exception) -> ConnectError:
        """Return the known fault that an error means."""
        import paramiko

        if isinstance(error, paramiko.BadHostKeyException):
            return self.wrong_host_key(error)
        target = f"{self.host.address} port {self.host.port}"
        if isinstance(error, OversizedPacket):
            message = f"ssh: {target} sent {error.strerror}"
            return self.error("refused", message, "the port serves something other than SSH")
        waited = time.monotonic() - self.started
        if isinstance(error, TimeoutError) or waited >= self.timeout_s:
            message = f"ssh: {target} accepts connections but does not respond for {waited:.1f} s"
            return self.error("silent", message, "the VM hangs, is overloaded or has not finished booting")
        transport = self.transport
        if transport is None or not transport.initial_kex_done:
            message = f"ssh: {target} closed the connection before a session"
            fix = "the SSH server is starting or overloaded, or the port serves something other than SSH"
            return self.error("refused", message, fix)
        if transport.is_active():
            return self.login_refused()
        return self.error("lost", f"ssh: {target} closed the connection during login")

    def error(self, kind: str, message: str, fix: str = "") -> ConnectError:
        return ConnectError(kind, message, where=self.host.name, fix=fix)

    def wrong_host_key(self, error: paramiko.BadHostKeyException) -> ConnectError:
        message = (
            f"ssh: {self.host.address} port {self.host.port} presents host key {error.key.fingerprint}, "
            f"but {self.host.identity or self.host.name} has {error.expected_key.fingerprint}"
        )
        fix = "another host has this address, or the connection is intercepted; nothing was sent to it"
        return self.error("host-key", message, fix)

    def login_refused(self) -> ConnectError:
        message = f"ssh: user {self.host.user!r} with key {self.host.key_file} was refused (wrong user or wrong key)"
        fix = "images log in as ubuntu, ec2-user (Amazon Linux, RHEL, SUSE) or admin (Debian): set user in [ssh]"
        return self.error("auth", message, fix)
