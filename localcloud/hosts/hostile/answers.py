"""Hostile answers to commands: output without end, byte by byte, cut off, and with lies in records and archives."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from localcloud.hosts.hostile.port import SLOW_S

_CHUNK = 1 << 16
_BOMB_BYTES = 1 << 40
_RUN = "20261120-141203-k3x"
_ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m \x9b2J \u202etxt.exe \x08\x08\r"


@dataclass(frozen=True)
class Piece:
    """A piece of output.

    :param pause_s: seconds before the next one.
    """

    data: bytes
    is_error: bool = False
    pause_s: float = 0.0


def pieces(how: str) -> Iterator[Piece]:
    """Return the output of a command."""
    return iter(_PIECES[how]())


def _endless() -> Iterator[Piece]:
    # Lines of any length, among them one that never ends.
    yield from (Piece(b"@@job x\n" * 1000) for _ in range(100))
    yield from itertools.repeat(Piece(b"x" * _CHUNK))


def _endless_errors() -> Iterator[Piece]:
    return (Piece(piece.data, is_error=True) for piece in _endless())


def _slow() -> Iterator[Piece]:
    # Also the begin of a compressed archive.
    return (Piece(bytes([byte]), pause_s=SLOW_S) for byte in itertools.cycle(_compressed([b"\0" * _CHUNK] * 16)))


def _cut() -> Iterator[Piece]:
    yield Piece(_lines([f"@@job {_RUN} {{"])[:-1])


def _escapes() -> Iterator[Piece]:
    line = f"{_ESCAPES}{_RUN}"
    marks = ("@@job", "@@run", "@@left", "@@stuck", "@@started", "@@host", "@@gpu", "@@app", "@@task", "@@missing")
    yield Piece(_lines([line, *(f"{mark} {line} {line}" for mark in marks)]))
    yield Piece(_lines([line]), is_error=True)


def _lies() -> Iterator[Piece]:
    """Claim runs, tasks, exits, numbers and files that are none."""
    paths = ("../../../.ssh", "/etc", "x/..", f"{_ESCAPES}", "a" * 5000)
    records: list[dict[str, object]] = [
        *(_manifest(run=path, job=path) for path in paths),
        *(_manifest(outputs=[path]) for path in paths),
        *(_manifest(roles={path: ["main"]}) for path in paths),
        *(_manifest(start=[path, path, path]) for path in paths),
        _manifest(dashboard=1 << 80, min_hosts=-1),
    ]
    lines = [f"@@job {record.get('run')} {json.dumps(record)}" for record in records]
    lines += [f"@@run {_RUN} {fields}" for fields in ("main yes", "main no 0 9999-99-99 0000", f"{_ESCAPES} no", "")]
    lines += ["@@left 99999999999999999999", "@@ended ../..", "@@missing ../x", f"@@busy {_ESCAPES}", "@@exit 0"]
    lines += ["@@started x"] * 3 + [
        "@@file ../../.bashrc eA==",
        "@@file job.json %%%",
        "@@host 1e999 nan -1 x",
        "@@gpu , ,",
    ]
    yield Piece(_lines(lines))


def _manifest(**facts: object) -> dict[str, object]:
    return {"run": _RUN, "job": "j", "framework": "command", "roles": {"ml-0": ["main"]}, "outputs": ["o"], **facts}


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _bomb() -> Iterator[Piece]:
    """Send a compressed archive of one file of a TiB, as a folder is sent."""
    info = tarfile.TarInfo("bomb")
    info.size = _BOMB_BYTES
    zeros = bytes(1 << 20)
    blocks = itertools.repeat(zeros, _BOMB_BYTES // len(zeros))
    yield Piece(b"d\n")
    yield from map(Piece, _stream(itertools.chain([info.tobuf(tarfile.GNU_FORMAT)], blocks)))


def _links() -> Iterator[Piece]:
    """Send a folder whose archive leads out of it in every way that tar knows."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind, target in _MEMBERS:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, 0o6777
            content = b"evil\n" if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    yield Piece(b"d\n" + _compressed([packed.getvalue()]) + b"0\n")


_MEMBERS = (
    ("good", tarfile.REGTYPE, ""),
    ("out", tarfile.SYMTYPE, "../../.."),
    ("out/evil-through-link", tarfile.REGTYPE, ""),
    ("passwd", tarfile.SYMTYPE, "/etc/passwd"),
    ("hard", tarfile.LNKTYPE, "../../../config.ini"),
    ("loop", tarfile.SYMTYPE, "loop"),
    ("device", tarfile.CHRTYPE, ""),
    ("fifo", tarfile.FIFOTYPE, ""),
    ("\x1b[2Jname\u202e", tarfile.REGTYPE, ""),
    ("../evil-above", tarfile.REGTYPE, ""),
    ("/tmp/evil-absolute", tarfile.REGTYPE, ""),
)


def _compressed(blocks: Iterable[bytes]) -> bytes:
    return b"".join(_stream(blocks))


def _stream(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Return the blocks as a gzip stream."""
    # 16 + 15: a gzip header, the largest window.
    compressor = zlib.compressobj(level=1, wbits=31)
    for block in blocks:
        if data := compressor.compress(block):
            yield data
    yield compressor.flush()


_PIECES: dict[str, Callable[[], Iterable[Piece]]] = {
    "endless-output": _endless,
    "endless-errors": _endless_errors,
    "slow-output": _slow,
    "cut-output": _cut,
    "escapes": _escapes,
    "lies": _lies,
    "archive-bomb": _bomb,
    "archive-links": _links,
}
