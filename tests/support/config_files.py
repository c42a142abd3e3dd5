"""Load config files in tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.config import settings
from orchestrator.config.settings import Settings
from orchestrator.core.errors import ConfigError

HERE = {"HOME": "/home/nobody-here"}
"""An environment with a home folder that does not exist."""


def outcome(project: Path, content: str | bytes) -> Settings | ConfigError:
    """Return the settings in a config file, or the error that it causes."""
    try:
        return load(project, content)
    except ConfigError as error:
        return error


def load(project: Path, content: str | bytes, env: Mapping[str, str] | None = None) -> Settings:
    """Write a config file into the project and load it."""
    path = project / "config" / "config.ini"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return settings.load(path, HERE if env is None else env)
