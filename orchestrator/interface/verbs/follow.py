"""Following a run on the screen, and what Ctrl-C means while doing so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.interface.console import Console
from orchestrator.interface.render.units import plain

QUESTION = "\n  Leave it running, cancel it, or keep watching?  [l/c/W] "


@dataclass
class Lines:
    """Shows a run's output line by line, from whichever thread it comes.

    Following again begins at the run's start, so lines that were shown before are counted and passed over. Listeners of
    an earlier round fall silent.

    :param named: put the host's name before each line; switched on when a second host speaks.
    """

    console: Console
    named: bool = False
    shown: Counter[str] = field(default_factory=Counter)
    _round: int = 0

    def listener(self) -> Callable[[str, str], None]:
        """Return the function to call with (host, line), and silence every earlier one."""
        self._round += 1
        mine, heard = self._round, Counter[str]()

        def on_line(host: str, line: str) -> None:
            if mine != self._round:
                return
            heard[host] += 1
            if heard[host] > self.shown[host]:
                self.shown[host] = heard[host]
                self._show(host, line)

        return on_line

    def pause(self) -> None:
        """Silence every listener until the next one is asked for."""
        self._round += 1

    def _show(self, host: str, line: str) -> None:
        self.named = self.named or len(self.shown) > 1
        self.console.say(f"  {host} | {plain(line)}" if self.named else f"  | {plain(line)}")


def what_now(console: Console) -> str:
    """Ask what to do after Ctrl-C: ``l`` leave it, ``c`` cancel it, ``w`` keep watching.

    Where nobody can be asked, and on a second Ctrl-C, the run is left: it goes on by itself, so nothing is lost.
    """
    if not console.asks:
        return "l"
    try:
        answer = console.ask(QUESTION, "w")[:1]
    except (KeyboardInterrupt, EOFError):
        console.say("")
        return "l"
    return answer if answer in ("l", "c") else "w"
