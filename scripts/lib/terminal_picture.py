"""Make docs/terminal.svg, the picture in the README, from a real sitting at the prompt.

    scripts/picture [--out docs/terminal.svg]

A terminal emulator (pyte) stands between the shell and the picture: what it shows is what a user sees.
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
SITTING = ("LaunchInstances(2)", "InstallDeps()", "RunMultiVMComputing()", "FetchResults()", "TerminateAll()", "exit")


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
        """Show what comes within some seconds; prompt_toolkit asks where the cursor is, as of any terminal."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._shell.closed:
            try:
                data = self._shell.read_nonblocking(65536, timeout=0.1)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                return
            if "\x1b[6n" in data:
                self._shell.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
            self._stream.feed(data)

    def wait_for(self, words: str, *, seconds: float = 180) -> None:
        """Read until the line of the cursor begins with some words.

        :raises TimeoutError: they did not come.
        """
        until = time.monotonic() + seconds
        while not self.screen.display[self.screen.cursor.y].lstrip().startswith(words):
            if time.monotonic() > until:
                raise TimeoutError(f"{words!r} did not come:\n" + "\n".join(self.screen.display).rstrip())
            self.read(0.3)

    def type(self, text: str) -> None:
        """Type a line."""
        self._shell.send(text)
        self.read(0.4)
        self._shell.send("\r")
        self.read(1.0)


def sit(terminal: Terminal) -> None:
    """Go through the sitting."""
    for line in SITTING:
        terminal.wait_for("rehearsal [")
        terminal.type(line)
        if line.startswith("Launch"):
            terminal.wait_for("Launch? ")
            terminal.type("y")
    terminal.read(2.0)


def lines(screen: pyte.Screen) -> list[Text]:
    """Return what is on the screen as styled lines, without the empty ones at its end."""
    found = [line(screen, row) for row in range(ROWS)]
    while found and not found[-1].plain.strip():
        found.pop()
    return found


def line(screen: pyte.Screen, row: int) -> Text:
    """Return one row of the screen; cells of one style are one piece, and blanks another: some viewers trim pieces."""
    text = Text()
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    for look, group in groupby(cells, key=lambda cell: (cell.fg, cell.bold, cell.data == " ")):
        text.append("".join(cell.data for cell in group), Style(color=colour(look[0]), bold=look[1]))
    text.rstrip()
    return text


def colour(name: str) -> str | None:
    """Return rich's name for a colour of pyte's."""
    if name == "default":
        return None
    return (
        f"#{name}"
        if len(name) == 6 and name != "yellow"
        else name.replace("brown", "yellow").replace("bright", "bright_")
    )


def main() -> int:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/terminal.svg")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as scratch:
        homes = {"STRATUS_HOME": f"{scratch}/stratus", "LOCALCLOUD_HOME": f"{scratch}/localcloud"}
        terminal = Terminal({**os.environ, **homes, "TERM": "xterm-256color"})
        try:
            sit(terminal)
        finally:
            import localcloud

            localcloud.down(Path(homes["LOCALCLOUD_HOME"]))
    shown = lines(terminal.screen)
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, color_system="truecolor", force_terminal=True)
        for each in shown:
            console.print(each, no_wrap=True, crop=True)
    svg = console.export_svg(title="python run_interface.py --local")
    # Fonts from elsewhere are not needed: any monospace one will do.
    out.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S))
    print(f"{out}: {len(shown)} lines")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
