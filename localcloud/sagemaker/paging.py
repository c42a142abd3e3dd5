"""Pages of SageMaker's lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params

_DEFAULT_PAGE = 10


def page(items: Sequence[dict[str, Any]], params: Params, name: str) -> dict[str, Any]:
    """Return one page: MaxResults items (10 by default) from NextToken on.

    :param name: member of the answer that has the items.
    :raises ApiError: the token is not one of this list.
    """
    token, size = str(params.get("NextToken") or "0"), int(params.get("MaxResults") or _DEFAULT_PAGE)
    if not token.isdigit() or int(token) > len(items):
        raise ApiError("ValidationException", "Invalid NextToken.")
    start = int(token)
    answer: dict[str, Any] = {name: list(items[start : start + size])}
    return {**answer, "NextToken": str(start + size)} if start + size < len(items) else answer
