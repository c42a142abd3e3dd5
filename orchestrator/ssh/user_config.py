"""One Include line in the user's own ``~/.ssh/config``, written and removed only on request."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from orchestrator.core.errors import UsageError

MARK = "# Added by stratus ssh-config --install; stratus ssh-config --remove takes it out."

# Include expands patterns and, depending on its version, tokens; a quoted path keeps its blanks only.
_UNSAFE = re.compile(r'["\\%*?\[\]\x00-\x1f\x7f]|\$\{')


def is_included(config: Path, target: Path) -> bool:
    """Return True if a config file includes the target by the line that `include` adds."""
    # A path that `include` refuses cannot have been included.
    return not _UNSAFE.search(str(target)) and _line(target) in _lines(config)


def include(config: Path, target: Path) -> bool:
    """Put an Include of the target at the top of a config file; return True if the file was changed.

    :raises UsageError: the target's path cannot be written there, or the file cannot.
    """
    if is_included(config, target):
        return False
    # At the top: further down, the line would belong to the Host block above it.
    _write(config, [MARK, _line(target), "", *(_lines(config) or [""])])
    return True


def exclude(config: Path, target: Path) -> bool:
    """Remove what `include` added; return True if the file was changed.

    :raises UsageError: the file cannot be written.
    """
    if not is_included(config, target):
        return False
    lines = _lines(config)
    at = lines.index(_line(target))
    first = at - 1 if lines[at - 1 : at] == [MARK] else at
    # The last piece is no line, but what follows the last line end.
    last = at + 2 if lines[at + 1 : -1][:1] == [""] else at + 1
    _write(config, lines[:first] + lines[last:])
    return True


def _line(target: Path) -> str:
    if _UNSAFE.search(str(target)):
        raise UsageError(
            f"{str(target)!r} cannot be included in an SSH config", fix="set STRATUS_HOME to a path of plain characters"
        )
    return f'Include "{target}"'


def _lines(config: Path) -> list[str]:
    """Return the lines, then what follows the last line end: nothing, or a line without one; [] without a file."""
    try:
        # Bytes of any encoding are kept as they are, and so is every line end: not splitlines(), which ends lines at
        # U+2028 and form feeds as well.
        return config.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(config)) from error


def _write(config: Path, lines: list[str]) -> None:
    """Replace the file atomically; a link, such as one into a folder of dotfiles, stays a link."""
    path = Path(os.path.realpath(config))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write("\n".join(lines))
        os.chmod(name, mode)
        os.replace(name, path)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(config)) from error
