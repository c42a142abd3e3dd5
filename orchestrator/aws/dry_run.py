"""Asking AWS whether it would do something: a dry run of the same request, which changes nothing.

It finds what the caller lacks or has named wrongly before anything is made. Capacity and quota are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.aws import errors

WOULD = "DryRunOperation"


def check(call: Callable[..., Any], **request: Any) -> None:
    """Ask whether AWS would carry out a request; returns when it would.

    :param call: a method of one of EC2's clients.
    :raises ClientError: it would not, for the reason that the error has.
    """
    try:
        call(**request, DryRun=True)
    except errors.error_types() as error:
        if errors.code_of(error) != WOULD:
            raise
