"""Open a page in the user's browser, where there is one with windows."""

from __future__ import annotations

import html
import os
import sys
import tempfile
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={url}">
<a href="{url}">{title}</a>
"""


def has_windows(environ: Mapping[str, str], platform: str) -> bool:
    """Return True if programs with windows can be shown: a browser in the terminal would take the shell's place.

    :param platform: as ``sys.platform``.
    """
    if environ.get("SSH_CONNECTION"):
        return False
    return platform in ("darwin", "win32") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_page(url: str, title: str) -> Path | None:
    """Open a page whose address holds a secret; return the file that leads there, None where no browser can be shown.

    The caller removes the file at its end: when the browser has read it is unknown.

    :param title: of the link, for a browser that does not follow redirections.
    """
    if not has_windows(os.environ, sys.platform):
        return None
    # By a file that only this user can read: other users see the command lines of all programs.
    handle, name = tempfile.mkstemp(suffix=".html", prefix="stratus-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(PAGE.format(url=html.escape(url), title=html.escape(title)))
    # Without a browser the address is on the screen.
    with suppress(webbrowser.Error):
        webbrowser.open(Path(name).as_uri())
    return Path(name)
