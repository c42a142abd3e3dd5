"""What a command line imports before it has a session; tests/services/test_call_counts.py has commands on hosts."""

from __future__ import annotations

from pathlib import Path

from tests.support.imports import imported_by, rooms


def test_help_imports_the_interface_only(tmp_path: Path) -> None:
    modules = imported_by(tmp_path, "exec", "--help")

    assert rooms(modules) == {"core", "interface"}
    assert not {"botocore", "paramiko", "rich", "asyncio", "IPython"} & modules
