"""Text files of the user in the encodings that programs write."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core import text_file
from orchestrator.core.errors import UsageError

TEXT = "numpy\nö\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_the_encodings_of_unix_and_windows(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode(encoding))

    assert text_file.read(path) == TEXT


def test_another_encoding_is_an_error_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_bytes(TEXT.encode("latin-1"))

    with pytest.raises(UsageError) as caught:
        text_file.read(path)
    assert (caught.value.where, caught.value.message) == (f"{path}:2", "byte 0xf6 is not UTF-8")
