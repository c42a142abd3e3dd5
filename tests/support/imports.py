"""The modules that a command imports, read in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PROGRAM = """
import sys
from orchestrator.interface.cli.main import main
try:
    sys.exit(main(sys.argv[1:]))
finally:
    print("\\n".join(sorted(sys.modules)), file=open("modules", "w"))
"""


def imported_by(folder: Path, *arguments: str, env: Mapping[str, str] = {}) -> set[str]:
    """Run a command line in a process of its own; return the modules that it has imported."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    env = {**os.environ, **env}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set((folder / "modules").read_text().split())


def rooms(modules: set[str]) -> set[str]:
    """Return the packages of orchestrator/ among modules."""
    return {".".join(name.split(".")[1:2]) for name in modules if name.startswith("orchestrator.")}
