"""Dry runs: EC2 checks parameters and permissions of a request and changes nothing.

Capacity and quota are not checked: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.aws import errors

WOULD_SUCCEED = "DryRunOperation"
"""Error code with which EC2 confirms that the request would have been carried out."""


def check(call: Callable[..., Any], **request: Any) -> None:
    """Make a dry run of a request; returns if EC2 would carry it out.

    :param call: a method of an EC2 client.
    :raises ClientError: the request would be refused.
    """
    try:
        call(**request, DryRun=True)
    except errors.error_types() as error:
        if errors.code_of(error) != WOULD_SUCCEED:
            raise
