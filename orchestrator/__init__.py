"""Stratus: machine-learning jobs on EC2, on one VM or on many."""

from __future__ import annotations

from typing import Any

from orchestrator.core.version import __version__

__all__ = ["__version__", "load_ipython_extension", "unload_ipython_extension"]

_shells: list[Any] = []


def load_ipython_extension(ip: Any) -> None:
    """Add the verbs to a running IPython or notebook: ``%load_ext orchestrator``."""
    from orchestrator.interface.shell import app

    _shells.append(app.load_into(ip))


def unload_ipython_extension(ip: Any) -> None:
    """Remove the verbs from it again."""
    for shell in [shell for shell in _shells if shell.ip is ip]:
        shell.remove()
        _shells.remove(shell)
