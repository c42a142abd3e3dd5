"""Write docs/terminal.svg, the picture in README.md, from a real session at the prompt.

    scripts/picture [--out docs/terminal.svg]

A terminal emulator (pyte) renders the shell's output exactly as a user sees it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

import pexpect
import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, ROWS = 118, 200
PROMPT = r"rehearsal \[[^]]*\]: "
LINES = ("LaunchInstances(2)", "InstallDeps()", "RunMultiVMComputing()", "FetchResults()", "TerminateAll()", "exit")


class Terminal:
    """A shell on an emulated terminal.

    :param env: environment of the shell.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self.screen)
        command = [str(ROOT / "run_interface.py"), "--local"]
        self._shell = pexpect.spawn(
            sys.executable, command, env=env, cwd=str(ROOT), dimensions=(ROWS, COLUMNS), encoding="utf-8", timeout=None
        )

    def read(self, seconds: float) -> None:
        """Process output for some seconds, and answer prompt_toolkit's queries for the cursor position."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._shell.closed:
            try:
                data = self._shell.read_nonblocking(65536, timeout=0.1)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                return
            if "\x1b[6n" in data:
                self._shell.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
            self._stream.feed(data)

    def wait_for(self, text: str, *, seconds: float = 180) -> None:
        """Read until the line of the cursor starts with a text.

        :raises TimeoutError: it did not appear.
        """
        end = time.monotonic() + seconds
        while not self.screen.display[self.screen.cursor.y].lstrip().startswith(text):
            if time.monotonic() > end:
                raise TimeoutError(f"{text!r} did not appear:\n" + "\n".join(self.screen.display).rstrip())
            self.read(0.3)

    def type(self, text: str) -> None:
        """Type a line."""
        self._shell.send(text)
        self.read(0.4)
        self._shell.send("\r")
        self.read(1.0)


def play_session(terminal: Terminal) -> None:
    """Type the lines, each at a prompt."""
    # The first prompt is drawn again when it learns how many VMs are up, over what was typed meanwhile.
    terminal.wait_for("rehearsal [0 up]")
    for line in LINES:
        terminal.wait_for("rehearsal [")
        terminal.type(line)
        if line.startswith("Launch"):
            terminal.wait_for("Launch? ")
            terminal.type("y")
    terminal.read(2.0)


def lines(screen: pyte.Screen) -> list[Text]:
    """Return the screen as styled lines, without empty lines at its end."""
    styled = [line(screen, row) for row in range(ROWS)]
    while styled and not styled[-1].plain.strip():
        styled.pop()
    return styled


def line(screen: pyte.Screen, row: int) -> Text:
    """Return one row; blanks are pieces of their own, because some viewers trim pieces."""
    text = Text()
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    for style, group in groupby(cells, key=lambda cell: (cell.fg, cell.bold, cell.data == " ")):
        text.append("".join(cell.data for cell in group), Style(color=rich_color(style[0]), bold=style[1]))
    text.rstrip()
    return text


def rich_color(name: str) -> str | None:
    """Return rich's name of a pyte color."""
    if name == "default":
        return None
    return (
        f"#{name}"
        if len(name) == 6 and name != "yellow"
        else name.replace("brown", "yellow").replace("bright", "bright_")
    )


def main() -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/terminal.svg")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as scratch:
        homes = {"STRATUS_HOME": f"{scratch}/stratus", "LOCALCLOUD_HOME": f"{scratch}/localcloud"}
        terminal = Terminal({**os.environ, **homes, "TERM": "xterm-256color"})
        try:
            play_session(terminal)
        finally:
            import localcloud

            localcloud.down(Path(homes["LOCALCLOUD_HOME"]))
    picture = lines(terminal.screen)
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, color_system="truecolor", force_terminal=True)
        for styled in picture:
            console.print(styled, no_wrap=True, crop=True)
    svg = console.export_svg(title="python run_interface.py --local")
    # No web fonts: any monospace font is fine.
    out.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S))
    print(f"{out}: {len(picture)} lines")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
