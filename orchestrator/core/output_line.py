"""A line of a program's output: its text, and its bytes for a reader that is no terminal."""

from __future__ import annotations


class OutputLine(str):
    """A line, a state of a progress bar, or a piece of a line that is too long to be held in memory.

    :ivar raw: bytes of the line since those of the piece before, without the line feed. A state of a progress bar has
        none: the line that it belongs to brings them.
    :ivar ends_line: True if a line feed follows.
    """

    __slots__ = ("ends_line", "raw")
    raw: bytes
    ends_line: bool

    def __new__(cls, text: str, raw: bytes, *, ends_line: bool) -> OutputLine:
        """Return a line; in its text, what is not UTF-8 is replaced."""
        line = super().__new__(cls, text)
        line.raw, line.ends_line = raw, ends_line
        return line


def as_output_line(line: str) -> OutputLine:
    """Return any line as one of output; plain text is a whole line."""
    if isinstance(line, OutputLine):
        return line
    return OutputLine(line, line.encode("utf-8", "surrogateescape"), ends_line=True)
