"""A stream that is a terminal, and the console that writes to it."""

from __future__ import annotations

import io
import re

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        """What was written, without colors."""
        return ESCAPES.sub("", self.getvalue())
