"""Files for plain ``ssh``, ``scp`` and editors: known_hosts with pinned keys, and a config file.

They lie in a folder of Stratus; ``~/.ssh`` is neither read nor written here.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.core import file_lock
from orchestrator.core.clock import Clock
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.host import Host

CONNECT_TIMEOUT_S = 10
KEEPALIVE_S = 15
LOCK_TIMEOUT_S = 10.0
"""The holder of the lock writes two small files."""

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+-]*")
_HOST_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+=*")
_UNSAFE_IN_PATH = re.compile(r'["\\\x00-\x1f\x7f]|\$\{')


def command_line(host: Host, folder: Path, clock: Clock) -> list[str]:
    """Return the argv of a plain OpenSSH session with ``host``; words appended to it are a remote command.

    :param folder: ``known_hosts`` is written there, with the host's key under its id in the cloud.
    :param clock: for the wait for other processes that write there.
    :raises UsageError: a value cannot be passed to OpenSSH unchanged, or the host key is unknown.
    """
    _write_known_hosts([host], folder, clock)
    options = _options(host, folder)
    settings = [f"{name}={value}" for name, value in options.items()]
    return ["ssh", "-F", "none", *(part for word in settings for part in ("-o", word)), _word(host.name)]


def write_ssh_config(hosts: Iterable[Host], folder: Path, clock: Clock, *, cluster: str = "cluster") -> Path:
    """Write ``folder/config``: with ``ssh -F folder/config ml-0`` (or an Include of it) each host is reached by name.

    :param cluster: name of the cluster of these hosts; those of other clusters stay in the file.
    :raises UsageError: as :func:`command_line`.
    """
    hosts = list(hosts)
    _write_known_hosts(hosts, folder, clock)
    blocks = [_block(host, _options(host, folder)) for host in hosts]
    path, clusters = folder / "config", folder / "clusters"
    clusters.mkdir(exist_ok=True, mode=0o700)
    with _locked(folder, clock):
        own = clusters / f"{cluster}.conf"
        _replace(own, "\n".join(blocks))
        if not blocks:
            own.unlink()
        # The newest first: two clusters may both have an ml-0, and OpenSSH takes the first value.
        newest_first = sorted(clusters.glob("*.conf"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        _replace(path, "\n".join(file.read_text(encoding="utf-8") for file in newest_first))
    return path


def _block(host: Host, options: Mapping[str, str]) -> str:
    return "".join([f"Host {_word(host.name)}\n", *(f"    {name} {value}\n" for name, value in options.items())])


def _options(host: Host, folder: Path) -> dict[str, str]:
    """Return the OpenSSH options of a session; the values fit a config file and ``-o`` alike."""
    # Inside of it, ssh expands % as in paths.
    proxy = {"ProxyCommand": host.proxy_command.replace("%", "%%")} if host.proxy_command else {}
    return {
        "HostName": _word(host.address),
        "Port": str(int(host.port)),
        "User": _word(host.user),
        "IdentityFile": _path(host.key_file.expanduser().absolute()),
        # No key of the user's agent is offered to a host.
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": _path((folder / "known_hosts").absolute()),
        "GlobalKnownHostsFile": "/dev/null",
        # By id: another instance may get the same address later.
        "HostKeyAlias": _word(_alias(host)),
        "StrictHostKeyChecking": "yes",
        # known_hosts is written by Stratus only: ssh would add keys that are not pinned.
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "ForwardAgent": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": str(KEEPALIVE_S),
        **proxy,
    }


def _alias(host: Host) -> str:
    return host.identity or host.name


def _word(value: str) -> str:
    """Return a value that OpenSSH takes unchanged: no blanks, patterns, quotes or leading dashes."""
    if not _WORD.fullmatch(value):
        raise UsageError(f"{value!r} cannot be passed to ssh safely")
    return value


def _path(path: Path) -> str:
    """Return a path in quotes, with ``%``, which ssh expands inside them, doubled."""
    if _UNSAFE_IN_PATH.search(str(path)):
        fix = "use a path without quotes, backslashes or ${"
        raise UsageError(f"{str(path)!r} cannot be passed to ssh safely", fix=fix)
    return '"' + str(path).replace("%", "%%") + '"'


def _write_known_hosts(hosts: Sequence[Host], folder: Path, clock: Clock) -> None:
    """Write the hosts' keys to ``folder/known_hosts``, keeping those of other hosts."""
    lines = {_word(_alias(host)): "\n".join(_known_hosts_lines(host)) for host in hosts}
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "known_hosts"
    with _locked(folder, clock):
        old_lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        other_hosts = [line for line in old_lines if line.split(" ", 1)[0] not in lines]
        _replace(path, "".join(f"{line}\n" for line in [*other_hosts, *lines.values()]))


def _known_hosts_lines(host: Host) -> list[str]:
    """Return the lines of one host: one; two while the key of its launch is accepted beside its own."""
    keys = [" ".join(key.split()[:2]) for key in (host.host_key, host.boot_key or host.host_key)]
    if not all(_HOST_KEY.fullmatch(key) for key in keys):
        raise UsageError(f"no usable host key is known for {host.name} ({_alias(host)}); not connecting")
    return [f"{_alias(host)} {key}" for key in dict.fromkeys(keys)]


@contextmanager
def _locked(folder: Path, clock: Clock) -> Iterator[None]:
    """Lock the files of ``folder`` against other processes."""
    with (folder / ".lock").open("w") as file:
        try:
            file_lock.wait_for(file.fileno(), clock, LOCK_TIMEOUT_S)
        except BlockingIOError as error:
            message = f"another process has held the SSH files for {LOCK_TIMEOUT_S:.0f} s"
            raise StratusError(
                message, where=str(folder), fix="look for a stopped stratus process, and end it"
            ) from error
        yield


def _replace(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)
