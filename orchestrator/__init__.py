"""Stratus: machine-learning jobs on EC2, on one VM or on many."""

from __future__ import annotations

from typing import Any

from orchestrator.core.version import __version__

__all__ = ["__version__", "load_ipython_extension", "unload_ipython_extension"]

_places: list[Any] = []


def load_ipython_extension(ip: Any) -> None:
    """Give the verbs to a running IPython or notebook: ``%load_ext orchestrator``."""
    from orchestrator.interface.shell import app

    _places.append(app.load_into(ip))


def unload_ipython_extension(ip: Any) -> None:
    """Take the verbs away from it again."""
    for place in [place for place in _places if place.ip is ip]:
        place.remove()
        _places.remove(place)
