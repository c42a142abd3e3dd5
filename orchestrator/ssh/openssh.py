"""What plain ``ssh``, ``scp`` and editors need to reach the hosts in any terminal: pinned keys and a config file.

All of it lies in a folder of ours; nothing in ``~/.ssh`` is read or written.
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
LOCK_S = 10.0  # whoever holds the lock writes two small files

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+-]*")
_HOST_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+=*")
_UNSPEAKABLE = re.compile(r'["\\\x00-\x1f\x7f]|\$\{')


def command_line(host: Host, folder: Path, clock: Clock) -> list[str]:
    """Return the argv of a plain OpenSSH session with ``host``; words appended to it are a remote command.

    :param folder: gets ``known_hosts``, with the host's key under the machine's own id.
    :raises UsageError: when a value cannot be told to OpenSSH without changing its meaning, or the host key is unknown.
    """
    _pin([host], folder, clock)
    options = _options(host, folder)
    words = [f"{name}={value}" for name, value in options.items()]
    return ["ssh", "-F", "none", *(part for word in words for part in ("-o", word)), _word(host.name)]


def write_ssh_config(hosts: Iterable[Host], folder: Path, clock: Clock) -> Path:
    """Write ``folder/config``, by which ``ssh -F folder/config ml-0`` (or an Include of it) reaches each host by name.

    :raises UsageError: as :func:`command_line`.
    """
    hosts = list(hosts)
    _pin(hosts, folder, clock)
    blocks = [_block(host, _options(host, folder)) for host in hosts]
    path = folder / "config"
    _replace(path, "\n".join(blocks))
    return path


def _block(host: Host, options: Mapping[str, str]) -> str:
    return "".join([f"Host {_word(host.name)}\n", *(f"    {name} {value}\n" for name, value in options.items())])


def _options(host: Host, folder: Path) -> dict[str, str]:
    """OpenSSH's names for all that a session needs; values are ready for a config file and for ``-o``."""
    return {
        "HostName": _word(host.address),
        "Port": str(int(host.port)),
        "User": _word(host.user),
        "IdentityFile": _path(host.key_file.expanduser().absolute()),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": _path((folder / "known_hosts").absolute()),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": _word(_alias(host)),
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "ForwardAgent": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": str(KEEPALIVE_S),
    }


def _alias(host: Host) -> str:
    return host.identity or host.name


def _word(value: str) -> str:
    """A value that OpenSSH takes as it stands: no blanks, patterns, quotes or leading dashes."""
    if not _WORD.fullmatch(value):
        raise UsageError(f"{value!r} cannot be told to ssh safely")
    return value


def _path(path: Path) -> str:
    """A path in quotes, with the one sign that ssh expands inside them doubled."""
    if _UNSPEAKABLE.search(str(path)):
        fix = "use a path without quotes, backslashes or ${"
        raise UsageError(f"{str(path)!r} cannot be told to ssh safely", fix=fix)
    return '"' + str(path).replace("%", "%%") + '"'


def _pin(hosts: Sequence[Host], folder: Path, clock: Clock) -> None:
    """Note the hosts' keys in ``folder/known_hosts``, keeping those of other hosts."""
    lines = {_word(_alias(host)): "\n".join(_known(host)) for host in hosts}
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "known_hosts"
    with _locked(folder, clock):
        before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in before if line.split(" ", 1)[0] not in lines]
        _replace(path, "".join(f"{line}\n" for line in [*kept, *lines.values()]))


def _known(host: Host) -> list[str]:
    """The lines of one host: usually one; two while the key of its launch still counts beside its own."""
    keys = [" ".join(key.split()[:2]) for key in (host.host_key, host.boot_key or host.host_key)]
    if not all(_HOST_KEY.fullmatch(key) for key in keys):
        raise UsageError(f"no usable host key is known for {host.name} ({_alias(host)}); not connecting")
    return [f"{_alias(host)} {key}" for key in dict.fromkeys(keys)]


@contextmanager
def _locked(folder: Path, clock: Clock) -> Iterator[None]:
    """Let one process at a time change the files of ``folder``."""
    with (folder / ".lock").open("w") as file:
        try:
            file_lock.wait_for(file.fileno(), clock, LOCK_S)
        except BlockingIOError as error:
            what = f"another process has held the SSH files for {LOCK_S:.0f} s"
            raise StratusError(what, where=str(folder), fix="look for a stopped stratus process, and end it") from error
        yield


def _replace(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees the old one or the new one, whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)
