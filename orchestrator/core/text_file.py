"""Text files of the user, in UTF-8 or as Windows programs write them."""

from __future__ import annotations

import codecs
from pathlib import Path

from orchestrator.core.errors import UsageError


def read(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    PowerShell 5 writes UTF-16: ``pip freeze > requirements.txt``.

    :raises UsageError: it is in another encoding; the line is in the error.
    :raises OSError: it cannot be read.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{content[error.start]:02x} is not UTF-8"
        raise UsageError(message, where=f"{path}:{number}", fix="save the file as UTF-8") from None
    return text.replace("\r\n", "\n")
