"""Terminal input and output: everything that is printed or asked goes through a :class:`Console`."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from orchestrator.core import interrupts
from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import Message, NextStep, Text, Verbatim, as_message, split_lines
from orchestrator.core.output_line import OutputLine
from orchestrator.interface.render import units
from orchestrator.interface.render.styles import ESCAPE_CODES, Styled


class CannotAsk(Exception):
    """Nothing can be typed where the program runs."""


ERASE_LINE = "\r\x1b[2K"
"""https://invisible-island.net/xterm/ctlseqs/ctlseqs.html: EL, the whole line."""


@dataclass
class Console:
    """Prints text and asks questions.

    :param document: stdout carries one JSON document, so everything else goes to stderr.
    :param can_ask: True if questions can be answered; None: if stdin is a terminal.
    :param word: words a hint for where it is read: ``Attach("k3")`` in the shell, ``stratus attach k3`` elsewhere.
    :param program: command that starts this program from a terminal.
    :param show_html: displays HTML in a notebook, with the same as plain text; None where nothing can display it.
    :param env: environment; ``NO_COLOR`` (https://no-color.org) and ``TERM`` count.
    """

    document: bool = False
    can_ask: bool | None = None
    word: Callable[[NextStep], str] = str
    program: str = "stratus"
    show_html: Callable[[str, str], None] | None = None
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _footer: str = ""
    _print_above: Callable[[str], None] | None = None

    # sys.stdout is looked up each time: IPython and notebooks exchange it.

    @property
    def stream(self) -> TextIO:
        """Stream of ordinary output."""
        return sys.stderr if self.document else sys.stdout

    @property
    def supports_redraw(self) -> bool:
        """True if ordinary output goes to a terminal that can redraw lines."""
        # Emacs' shell, for one, calls itself dumb: it would print cursor movements as text.
        return _is_terminal(self.stream) and self.env.get("TERM", "") not in ("", "dumb")

    @property
    def is_interactive(self) -> bool:
        """True if questions can be answered."""
        # The sender of a signal answers no questions.
        if interrupts.ending_signal():
            return False
        # stdin is None where there is no console at all, such as under pythonw.
        return sys.stdin is not None and sys.stdin.isatty() if self.can_ask is None else self.can_ask

    def print(self, text: Text | Iterable[Text]) -> None:
        """Print lines to the stream of ordinary output."""
        self._write(self.stream, text)

    def print_error(self, text: Text | Iterable[Text]) -> None:
        """Print lines to stderr."""
        self._write(sys.stderr, text)

    def print_raw(self, text: str) -> None:
        """Print the verb's result itself (a JSON document, a template) to stdout, as it is."""
        with self._lock, _writing():
            sys.stdout.write(_encodable(text if text.endswith("\n") else text + "\n", sys.stdout))
            sys.stdout.flush()

    def set_footer(self, text: str) -> None:
        """Show one line below everything that is printed, in the place of the one before; empty: none.

        Only where :attr:`supports_redraw`.
        """
        # One column is left free: in the last one, some terminals begin a new line.
        width = shutil.get_terminal_size().columns - 1
        with self._lock, _writing():
            self._footer = units.visible(text)[:width]
            self.stream.write(_encodable(ERASE_LINE + self._footer, self.stream))
            self.stream.flush()

    @contextmanager
    def printing_above(self, print_above: Callable[[str], None]) -> Iterator[None]:
        """Print through a display that redraws itself while the block runs: its lines stay below all others.

        :param print_above: prints finished lines, which may contain colors, above the display.
        """
        self._print_above = print_above
        try:
            yield
        finally:
            self._print_above = None

    def ring(self) -> None:
        """Ring the terminal's bell, if ordinary output goes to one."""
        if self.supports_redraw:
            with self._lock, _writing():
                self.stream.write("\a")
                self.stream.flush()

    def ask(self, question: str, default: str) -> str:
        """Ask and return the answer in lower case; an empty line is the default.

        :raises EOFError: the input has ended.
        :raises CannotAsk: nothing can be typed here.
        """
        try:
            return self._ask(question).strip().lower() or default
        # Of its own kind in a notebook whose front end takes no input, as under nbclient; builtin without a stdin.
        except RuntimeError as error:
            raise CannotAsk from error

    def _ask(self, question: str) -> str:
        stream = self.stream
        # The question must not overtake output that is still buffered.
        stream.flush()
        if stream is sys.stdout:
            # input() with a prompt edits lines; it writes to stdout only.
            return input(question)
        stream.write(question)
        stream.flush()
        return input()

    def worded(self, text: Text) -> str:
        """Return a text with its hints worded."""
        return "".join(map(self._worded_part, as_message(text).parts))

    def _worded_part(self, part: str | NextStep) -> str:
        # A job's own output stays as it is where no terminal reads it; names in other texts may come from hosts, too.
        if isinstance(part, Verbatim):
            return part
        return units.visible(self.word(part) if isinstance(part, NextStep) else part)

    def print_output(self, prefix: str, line: OutputLine, *, at_start: bool) -> None:
        """Print a line of a job to a stream that is no terminal, byte for byte.

        :param prefix: before the line.
        :param at_start: False if a piece of the same line was printed before.
        """
        stream, end = self.stream, b"\n" if line.ends_line else b""
        encoding = getattr(stream, "encoding", None) or "utf-8"
        data = (prefix.encode(encoding, "replace") if at_start else b"") + line.raw + end
        binary = getattr(stream, "buffer", None)
        with self._lock, _writing():
            # Streams of notebooks take text only.
            if binary is None:
                stream.write(data.decode(encoding, "replace"))
            else:
                stream.flush()
                binary.write(data)
            stream.flush()

    @property
    def is_terminal(self) -> bool:
        """True if ordinary output goes to a terminal."""
        return _is_terminal(self.stream)

    def _write(self, stream: TextIO, text: Text | Iterable[Text]) -> None:
        texts = [text] if isinstance(text, str | NextStep | Message) else text
        draw = self._for_terminal if _is_terminal(stream) else self.worded
        # Lines come from several threads: one write each keeps them whole.
        drawn = "".join(f"{draw(line)}\n" for line in _printed_lines(texts))
        if self._print_above and drawn and _is_terminal(stream):
            # Without this lock: the display has one of its own.
            self._print_above(_encodable(drawn.removesuffix("\n"), stream))
            return
        with self._lock, _writing():
            if self._footer:
                self.stream.write(ERASE_LINE)
                self.stream.flush()
            # Flushed: a pipe is block-buffered, and a reader would see a job's lines minutes late.
            stream.write(_encodable(drawn, stream))
            stream.flush()
            if self._footer:
                self.stream.write(_encodable(self._footer, self.stream))
                self.stream.flush()

    def _for_terminal(self, line: Text) -> str:
        """Return a line with colors, wrapped at the terminal's width, its control characters made visible."""
        parts = as_message(line).parts
        pieces = [self._piece(part) for part in parts]
        colors = not self.env.get("NO_COLOR") and self.env.get("TERM") != "dumb"
        # A job's line keeps its line breaks: wrapped, a table or a path could not be copied.
        whole = any(isinstance(part, Verbatim) for part in parts)
        width = sys.maxsize if whole else shutil.get_terminal_size().columns
        return "\n".join(_colored(row) if colors else "".join(row) for row in units.wrapped(pieces, width))

    def _piece(self, part: str | NextStep) -> str:
        if isinstance(part, NextStep):
            return Styled(units.visible(self.word(part)), "command")
        # Text of hosts and providers could move the cursor or retitle the window.
        text = units.visible(units.last_state(part) if isinstance(part, Verbatim) else part)
        return Styled(text, part.style) if isinstance(part, Styled) else text


def _printed_lines(texts: Iterable[Text]) -> list[Text]:
    """Return texts line by line; the end of a text that ends with a line break is no further line."""
    lines: list[Text] = []
    for text in texts:
        # Also inside a text: indentation and width are those of one line.
        rows = split_lines([text])
        lines += rows[:-1] if len(rows) > 1 and not rows[-1] else rows
    return lines


def _colored(pieces: Iterable[str]) -> str:
    return "".join(
        f"\x1b[{ESCAPE_CODES[piece.style]}m{piece}\x1b[0m" if isinstance(piece, Styled) and piece else piece
        for piece in pieces
    )


def _encodable(text: str, stream: TextIO) -> str:
    """Return a text with what the stream's encoding lacks replaced: one umlaut of a job must not end its display."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


@contextmanager
def _writing() -> Iterator[None]:
    """Translate an error of the stream, such as that of a full disk; a closed pipe ends the program otherwise.

    After an ending signal there may be no reader any more, and what is cleaned up then goes on.
    """
    try:
        yield
    except OSError as error:
        if interrupts.ending_signal():
            return
        if isinstance(error, BrokenPipeError):
            raise
        fix = NextStep("Status") + "  shows what is up"
        raise StratusError(f"the output cannot be written: {error.strerror}", fix=fix) from error


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
