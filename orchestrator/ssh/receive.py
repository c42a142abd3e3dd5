"""Folders and files of a host, received with one command: an archive each, one after another in one stream."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.ssh.channel import ChannelSession
from orchestrator.ssh.receive_limits import ERROR_OUTPUT_BYTES, MAX_OUTPUT_BYTES
from orchestrator.ssh.tar_stream import ChunkReader, OnSkipped, UnpackBudget, unpack

_ABSENT, _FOLDER, _FILE = b"-", b"d", b"f"
_MARK = b"@@part\n"

# One line before each archive, and tar's exit status after it. exec: the status is tar's own. -h: a file may be a link,
# as a folder may. The mark in the error output tells which messages belong to which archive.
_SEND = """\
for part; do
    if [ -d "$part" ]; then echo d; (exec tar -C "$part" -czf - .); echo $?
    elif [ -f "$part" ]; then echo f; (exec tar -C "${part%/*}" -hczf - -- "${part##*/}"); echo $?
    else echo -; fi
    echo @@part >&2
done"""


@dataclass(frozen=True)
class Part:
    """A folder of a host whose content goes into a folder of this computer, or a file.

    :param remote: absolute, or relative to the home folder of the login.
    :param local: created if missing; files of the same name are replaced, others stay.
    :param file_folder: where it goes if it is a file; None: into ``local``, too.
    :param on_skipped: called with (name, why) for special files, and links to anything but a file in the folder.
    :param on_received: called when it is here as a whole, before the next part.
    """

    remote: str
    local: Path
    file_folder: Path | None = None
    on_skipped: OnSkipped | None = None
    on_received: Callable[[], object] | None = None


@dataclass(frozen=True)
class _Failure:
    part: Part
    status: bytes = b""
    cause: Exception | None = None


def send_command(parts: Sequence[Part]) -> list[str]:
    """Return the words of the command that sends parts; it works in the home folder of the login."""
    remotes = [part.remote if part.remote.startswith("/") else f"./{part.remote}" for part in parts]
    return ["sh", "-c", _SEND, "send", *remotes]


def receive_parts(session: ChannelSession, host: Host, parts: Sequence[Part], budget: UnpackBudget) -> list[int | None]:
    """Unpack what the command sends.

    :param session: of the command.
    :return: bytes of the files of each part; None where the host has nothing.
    :raises HostError: a part could not be read there or written here, or a name points outside; the other parts are
        received all the same, unless the stream is damaged.
    :raises LimitReached: the budget is spent; what was unpacked before is kept.
    """
    error_output = bytearray()
    source = ChunkReader(_stdout_of(session, host, error_output))
    sizes: list[int | None] = []
    failures: list[_Failure] = []
    try:
        for part in parts:
            sizes.append(_receive(host, source, part, budget, failures))
    except (tarfile.TarError, EOFError) as error:
        failures.append(_Failure(parts[len(sizes)], cause=error))
    # Also after an error: the messages that explain it may come after it.
    if not source.skip_rest():
        raise HostError("refused to unpack: data without end after the archive", where=host.name)
    if failures:
        raise _error_of(host, failures[0], error_output) from failures[0].cause
    messages = bytes(error_output).split(_MARK)[:-1]
    # From the last one: the first messages are lost where there are many.
    for part in reversed(parts):
        skip_sockets(messages.pop() if messages else b"", part.on_skipped or _ignore_skipped)
    return sizes


def skip_sockets(error_output: bytes, on_skipped: OnSkipped) -> None:
    """Report sockets, which tar leaves out of an archive: by its messages."""
    for match in re.finditer(rb"^tar: (?:\./)?(.+): socket ignored$", error_output, re.MULTILINE):
        on_skipped(match[1].decode("utf-8", errors="replace"), "a socket")


def nothing_at(host: Host, remote: str) -> HostError:
    """Return the error of a folder that a host does not have."""
    return HostError(f"nothing at {remote}: no such folder", where=host.name)


def _receive(host: Host, source: ChunkReader, part: Part, budget: UnpackBudget, failures: list[_Failure]) -> int | None:
    """Receive one part; return the bytes of its files, None if it is absent.

    :param failures: tar's own are added.
    :raises tarfile.ReadError: the stream is damaged.
    """
    kind = source.read_line()
    if kind == _ABSENT:
        return None
    if kind not in (_FOLDER, _FILE):
        raise tarfile.ReadError("no archive")
    folder = part.local if kind == _FOLDER else part.file_folder or part.local
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size_bytes = unpack(source, folder, part.on_skipped or _ignore_skipped, budget)
    except OSError as error:
        message = f"cannot write {error.filename or folder}: {error.strerror or error}"
        raise HostError(message, where=host.name) from error
    except HostError as error:
        error.where = error.where or host.name
        raise
    status = source.read_line()
    # tar exits with 1 when a file changed while it was read: a running job still writes.
    if status not in (b"0", b"1"):
        failures.append(_Failure(part, status))
    elif part.on_received:
        part.on_received()
    return size_bytes


def _error_of(host: Host, failure: _Failure, error_output: bytearray) -> HostError:
    lines = bytes(error_output).replace(_MARK, b"").decode("utf-8", errors="replace").strip().splitlines()
    status = failure.status.decode("ascii", errors="replace") or "no exit status"
    reason = lines[-1].strip() if lines else f"tar ended with {status}"
    return HostError(f"could not fetch {failure.part.remote}: {reason}", where=host.name)


def _stdout_of(session: ChannelSession, host: Host, error_output: bytearray) -> Iterator[bytes]:
    """Yield standard output; keep the end of error output in ``error_output``.

    :raises HostError: there is too much error output, which would count as activity until the deadline.
    """
    errors_left = MAX_OUTPUT_BYTES
    for stream, data in session.output():
        if stream == 1:
            yield data
        else:
            errors_left -= len(data)
            if errors_left < 0:
                raise HostError(f"more than {MAX_OUTPUT_BYTES >> 20} MiB of error output", where=host.name)
            error_output += data
            # Bounded: a host may send any amount of it.
            del error_output[:-ERROR_OUTPUT_BYTES]


def _ignore_skipped(name: str, reason: str) -> None:
    """Ignore a skipped entry: the handler of callers without one."""
