"""Pseudo-terminals for SSH sessions, with the client's modes and sizes (RFC 4254, sections 6.2 and 8)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass

# Opcodes and their names in the termios module; names that this system lacks are skipped.
_CHARACTERS = {
    1: "VINTR",
    2: "VQUIT",
    3: "VERASE",
    4: "VKILL",
    5: "VEOF",
    6: "VEOL",
    7: "VEOL2",
    8: "VSTART",
    9: "VSTOP",
    10: "VSUSP",
    12: "VREPRINT",
    13: "VWERASE",
    14: "VLNEXT",
    18: "VDISCARD",
}
_INPUT, _OUTPUT, _CONTROL, _LOCAL = 0, 1, 2, 3
_FLAGS = {
    **dict.fromkeys(range(30, 43), _INPUT),
    **dict.fromkeys(range(50, 63), _LOCAL),
    **dict.fromkeys(range(70, 76), _OUTPUT),
    **dict.fromkeys(range(90, 94), _CONTROL),
}
_FLAG_ORDER = """
    IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IUCLC IXON IXANY IXOFF IMAXBEL IUTF8
    ISIG ICANON XCASE ECHO ECHOE ECHOK ECHONL NOFLSH TOSTOP IEXTEN ECHOCTL ECHOKE PENDIN
    OPOST OLCUC ONLCR OCRNL ONOCR ONLRET
    CS7 CS8 PARENB PARODD
"""
_FLAG_NAMES = dict(zip(_FLAGS, _FLAG_ORDER.split(), strict=True))
# Not in the termios module; from asm-generic/termbits.h.
_IUTF8 = 0o40000
_CHARACTER_LIST = 6
_UNSET = 255


@dataclass(frozen=True)
class Terminal:
    """The client's terminal.

    :param kind: ``TERM``.
    :param size: columns, rows, and both in pixels.
    :param modes: RFC 4254 opcodes and their values.
    """

    kind: str
    size: tuple[int, int, int, int]
    modes: Mapping[int, int]


def open_pair(terminal: Terminal) -> tuple[int, int]:
    """Open a pseudo-terminal with the settings of the client's terminal.

    :returns: file descriptors of the controlling side and the terminal side.
    :raises OSError: the system has no more pseudo-terminals.
    """
    master, slave = os.openpty()
    # Clients send modes that this system may refuse.
    with contextlib.suppress(termios.error):
        _set_modes(slave, terminal.modes)
    resize(master, terminal.size)
    return master, slave


def resize(master: int, size: tuple[int, int, int, int]) -> None:
    """Set the size of a terminal: columns, rows, and both in pixels."""
    columns, rows, width, height = (min(value, 0xFFFF) for value in size)
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


def make_controlling() -> None:
    """Make standard input the controlling terminal of this session; runs in the new program's process."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _set_modes(slave: int, modes: Mapping[int, int]) -> None:
    attributes = termios.tcgetattr(slave)
    for opcode, value in modes.items():
        if opcode in _CHARACTERS:
            _set_character(attributes[_CHARACTER_LIST], _CHARACTERS[opcode], value)
        elif opcode in _FLAGS:
            flag = _flag(_FLAG_NAMES[opcode])
            group = _FLAGS[opcode]
            attributes[group] = attributes[group] | flag if value else attributes[group] & ~flag
    termios.tcsetattr(slave, termios.TCSANOW, attributes)


def _set_character(characters: list[bytes | int], name: str, value: int) -> None:
    index = getattr(termios, name, None)
    if index is not None and 0 <= value <= _UNSET:
        characters[index] = bytes([0 if value == _UNSET else value])


def _flag(name: str) -> int:
    return _IUTF8 if name == "IUTF8" else int(getattr(termios, name, 0))
