"""Opening one SSH connection, and saying exactly why it did not come about.

The host key is the one that was made for the machine at launch, and the only one that is accepted; nothing of the
user's own SSH set-up (agent, default keys, config files, known_hosts) is looked at. Errors of sockets and of paramiko
are translated here and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import errno
import io
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from orchestrator.core.errors import ConnectError
from orchestrator.core.host import Host

if TYPE_CHECKING:
    import paramiko

T = TypeVar("T")

KEEPALIVE_S = 5
"""Seconds of silence after which a keepalive goes out: less than any NAT forgets a connection in."""

UNACKNOWLEDGED_MS = 30_000
"""Milliseconds that sent bytes may stay unacknowledged before the kernel gives the connection up."""

_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EPERM, errno.EACCES}


class Connection(Protocol):
    """The part of ``fabric.Connection`` that Stratus itself uses (fabric carries no types)."""

    client: paramiko.SSHClient
    transport: paramiko.Transport
    connect_kwargs: dict[str, Any]

    def open(self) -> None:
        """Connect and log in."""

    def close(self) -> None:
        """End the connection."""

    def run(self, command: str, **options: Any) -> Any:
        """Fabric's own ``run``: it has no deadline that holds, so Stratus does not call it."""


def call_with_timeout(work: Callable[[], T], timeout_s: float) -> T:
    """Return ``work()``, or raise TimeoutError after ``seconds``: several calls of paramiko wait for ever.

    The abandoned call goes on in a daemon thread until its socket is closed.
    """
    box: list[T] = []
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            box.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, name="ssh-bounded", daemon=True)
    thread.start()
    thread.join(max(timeout_s, 0.0))
    if errors:
        raise errors[0]
    if not box:
        raise TimeoutError(f"no answer within {timeout_s:.1f} s")
    return box[0]


def open_connection(host: Host, *, timeout_s: float, tcp_timeout_s: float | None = None) -> Connection:
    """Open an authenticated connection to ``host``.

    :param within: seconds for the whole: TCP, key exchange and login.
    :param knock: seconds for TCP alone, where a fresh attempt is worth more than a patient one.
    :raises ConnectError: kind ``refused``, ``dropped``, ``no-route``, ``silent``, ``auth``, ``host-key``, ``lost`` or
        ``key-file`` (the private key on this side cannot be used: no retry can help).
    """
    # paramiko prints a traceback for every failed attempt unless someone owns its logger.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    until = time.monotonic() + timeout_s
    try:
        return _open(host, timeout_s, tcp_timeout_s)
    except ConnectError as error:
        if error.kind != "host-key" or host.boot_key in ("", host.host_key):
            raise
        # A computer that was replacing the key may have ended in between: then the launch's is the one in force.
        before = replace(host, host_key=host.boot_key)
        try:
            return _open(before, max(0.1, until - time.monotonic()), tcp_timeout_s)
        except ConnectError as second:
            raise (error if second.kind == "host-key" else second) from second


def _open(host: Host, within: float, knock: float | None) -> Connection:
    pinned, login = expected_host_key(host), _login_key(host)
    until = time.monotonic() + within
    sock = _dial(host, min(within, knock or within))
    try:
        return _Handshake(host, sock, until).run(pinned, login)
    except BaseException:
        sock.close()
        raise


def expected_host_key(host: Host) -> paramiko.PKey:
    """Return the public key that ``host`` must prove to hold.

    :raises ConnectError: kind ``host-key`` when none is known, or what is known is no key.
    """
    import paramiko

    words = host.host_key.split()
    if not words:
        what = f"no host key is known for {host.identity or host.name}, so nothing proves which machine answers"
        raise ConnectError("host-key", f"{what}; not connecting", where=host.name)
    try:
        return paramiko.PKey.from_type_string(words[0], base64.b64decode(words[1], validate=True))
    except (IndexError, binascii.Error, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        what = f"the host key noted for {host.identity or host.name} is unreadable; not connecting"
        raise ConnectError("host-key", what, where=host.name) from error


def _login_key(host: Host) -> paramiko.PKey:
    """The private key that opens ``host``, read anew each time: the file may have been replaced."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    path = host.key_file.expanduser()
    try:
        return _parsed(path.read_bytes())
    except OSError as error:
        raise _key_file(host, f"private key {path} cannot be read: {error.strerror}") from error
    except TypeError as error:
        what = f"private key {path} is locked with a passphrase, which is never asked for"
        raise _key_file(host, what, "ssh-keygen -p -f FILE removes it; or let the cluster make its own key") from error
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException) as error:
        raise _key_file(host, f"{path} is no private key that SSH can use") from error


def _parsed(data: bytes) -> paramiko.PKey:
    """Parse a private key of any of the usual types and formats.

    Paramiko reads no PKCS#8, and fails on a third of all ECDSA keys in OpenSSH's format (5.1, tried): cryptography
    reads them all, and writes what paramiko understands.

    :raises TypeError: when it is locked with a passphrase.
    :raises ValueError: when it is no private key.
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
        secret = load_ssh_private_key(data, None)
    except ValueError:
        secret = load_pem_private_key(data, None)  # type: ignore[assignment]
    kinds: list[tuple[type, type[paramiko.PKey], PrivateFormat]] = [
        (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key, PrivateFormat.OpenSSH),
        (rsa.RSAPrivateKey, paramiko.RSAKey, PrivateFormat.TraditionalOpenSSL),
        (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey, PrivateFormat.TraditionalOpenSSL),
    ]
    for kind, key_class, form in kinds:
        if isinstance(secret, kind):
            text = secret.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
            return key_class.from_private_key(io.StringIO(text))
    raise ValueError("neither Ed25519 nor RSA nor ECDSA")


def _key_file(host: Host, what: str, fix: str = "") -> ConnectError:
    return ConnectError("key-file", what, where=host.name, fix=fix)


def _dial(host: Host, seconds: float) -> socket.socket:
    """A TCP connection to the host; done here rather than by paramiko, which blurs the reasons for failing."""
    try:
        sock = socket.create_connection((host.address, host.port), timeout=max(seconds, 0.01))
    except OSError as error:
        raise _no_tcp(host, error, seconds) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # With keepalives under way, this ends a connection whose other side fell off the network.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    return sock


def _no_tcp(host: Host, error: OSError, seconds: float) -> ConnectError:
    place = f"{host.address} port {host.port}"
    if isinstance(error, TimeoutError):
        what = f"ssh: no answer from {place} for {seconds:.1f} s (packets dropped)"
        fix = "a security group or firewall does not admit this computer's address, or the address is an old one"
        return ConnectError("dropped", what, where=host.name, fix=fix)
    if isinstance(error, socket.gaierror):
        return ConnectError("no-route", f"ssh: {host.address!r} is no known address", where=host.name)
    if error.errno in _NO_ROUTE:
        what = f"ssh: no way to {place} ({error.strerror})"
        fix = "this computer is offline, a VPN is missing, or the address is private"
        return ConnectError("no-route", what, where=host.name, fix=fix)
    what = f"ssh: nothing listens on {place} ({error.strerror})"
    return ConnectError("refused", what, where=host.name, fix="the machine is booting, or its SSH server is down")


class _Handshake:
    """From an open socket to an authenticated session."""

    def __init__(self, host: Host, sock: socket.socket, until: float) -> None:
        self.host = host
        self.sock = sock
        self.started = time.monotonic()
        self.within = max(until - self.started, 0.1)
        self.transport: paramiko.Transport | None = None

    def run(self, pinned: paramiko.PKey, login: paramiko.PKey) -> Connection:
        """Shake hands, check the host key, log in."""
        connection = self.prepare(pinned, login)
        try:
            call_with_timeout(connection.open, self.within)
        except Exception as error:
            # Explain first: closing wipes the traces that tell one fault from another.
            explained = self.explain(error)
            self.abandon(connection)
            raise explained from error
        connection.transport.set_keepalive(KEEPALIVE_S)
        # Should fabric ever reopen it by itself, it must not take the dead socket again.
        del connection.connect_kwargs["sock"]
        return connection

    def prepare(self, pinned: paramiko.PKey, login: paramiko.PKey) -> Connection:
        """A fabric Connection that trusts one host key, offers one login key, and reads nobody's config."""
        import fabric
        import paramiko

        connection: Connection = fabric.Connection(
            self.host.address,
            user=self.host.user,
            port=self.host.port,
            config=fabric.Config(overrides={"load_ssh_configs": False}, lazy=True),
            gateway=False,
            forward_agent=False,
            connect_kwargs={
                "sock": self.sock,
                "pkey": login,
                "allow_agent": False,
                "look_for_keys": False,
                "timeout": self.within,
                "banner_timeout": self.within,
                "auth_timeout": self.within,
                "transport_factory": self.new_transport,
            },
        )
        # Fabric hard-codes a policy that accepts any key.
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        address, port = self.host.address, self.host.port
        name = address if port == 22 else f"[{address}]:{port}"
        connection.client.get_host_keys().add(name, pinned.get_name(), pinned)
        return connection

    def new_transport(self, sock: socket.socket, **options: Any) -> paramiko.Transport:
        """Make the transport, and keep it: how far it came tells what went wrong."""
        import paramiko

        self.transport = paramiko.Transport(sock, **options)
        self.transport.handshake_timeout = self.within
        return self.transport

    def abandon(self, connection: Connection) -> None:
        """Close what is half open, with the timer thread that paramiko would leave behind."""
        if self.transport is not None:
            self.transport.packetizer.complete_handshake()
        connection.client.close()
        self.sock.close()

    def explain(self, error: Exception) -> ConnectError:
        """Say which of the known faults this is."""
        import paramiko

        if isinstance(error, paramiko.BadHostKeyException):
            return self.wrong_machine(error)
        place = f"{self.host.address} port {self.host.port}"
        waited = time.monotonic() - self.started
        if isinstance(error, TimeoutError) or waited >= self.within:
            what = f"ssh: {place} accepts connections but says nothing for {waited:.1f} s"
            return self.failed("silent", what, "the machine hangs, is overloaded, or is only half booted")
        transport = self.transport
        if transport is None or not transport.initial_kex_done:
            what = f"ssh: {place} ended the connection before a session"
            fix = "the SSH server is starting or overloaded, or something other than SSH listens there"
            return self.failed("refused", what, fix)
        if transport.is_active():
            return self.no_login()
        return self.failed("lost", f"ssh: {place} ended the connection during login")

    def failed(self, kind: str, what: str, fix: str = "") -> ConnectError:
        return ConnectError(kind, what, where=self.host.name, fix=fix)

    def wrong_machine(self, error: paramiko.BadHostKeyException) -> ConnectError:
        what = (
            f"ssh: {self.host.address} port {self.host.port} shows host key {error.key.fingerprint}, "
            f"but {self.host.identity or self.host.name} has {error.expected_key.fingerprint}"
        )
        fix = "another machine answers at this address, or someone listens in; nothing was sent to it"
        return self.failed("host-key", what, fix)

    def no_login(self) -> ConnectError:
        what = f"ssh: user {self.host.user!r} with key {self.host.key_file} was refused (wrong user or wrong key)"
        fix = "images log in as ubuntu, ec2-user (Amazon Linux, RHEL, SUSE) or admin (Debian): set user in [ssh]"
        return self.failed("auth", what, fix)
