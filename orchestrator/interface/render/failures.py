"""Hosts that failed, as text; pure, as :mod:`orchestrator.interface.render.cluster` is."""

from __future__ import annotations

from collections.abc import Mapping


def failures(failed: Mapping[str, Exception]) -> list[str]:
    """Show each host's failure: its name once, then the reason and, indented, what to do.

    :param failed: name of every host that failed -> why.
    """
    return [line for name, error in failed.items() for line in _failure(name, error)]


def _failure(name: str, error: Exception) -> list[str]:
    first, *more = (str(error) or type(error).__name__).splitlines()
    return [f"  {name}  failed  {first.removeprefix(f'{name}: ')}", *(f"    {line.strip()}" for line in more)]
