"""Records of hosting: models, endpoint configurations, endpoints and transform jobs, by region and name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.sagemaker import paging


@dataclass
class Resource:
    """One resource.

    :param kind: as in its ARN: ``model``, ``endpoint-config``, ``endpoint``, ``transform-job``.
    :param request: parameters that created it.
    :param tags: key -> value.
    """

    kind: str
    name: str
    region: str
    request: Params
    created_at: datetime
    modified_at: datetime
    status: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add_tags(self.request.get("Tags", []))

    @property
    def arn(self) -> str:
        """ARN; SageMaker's are in lower case."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{self.kind}/{self.name.lower()}"

    def add_tags(self, tags: Iterable[dict[str, str]]) -> None:
        """Add tags, or replace their values."""
        self.tags.update({tag["Key"]: tag["Value"] for tag in tags})


Kind = TypeVar("Kind", bound=Resource)


class Registry(Generic[Kind]):
    """Resources of one kind, of all regions.

    :param noun: as AWS's messages name the kind.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._by_name: dict[tuple[str, str], Kind] = {}

    def add(self, resource: Kind) -> None:
        """Add a resource.

        :raises ApiError: its name is taken.
        """
        key = resource.region, resource.name.lower()
        if other := self._by_name.get(key):
            raise ApiError("ValidationException", f'Cannot create already existing {self.noun} "{other.arn}".')
        self._by_name[key] = resource

    def find(self, region: str, name: str) -> Kind | None:
        """Return a resource by its name; None if there is none."""
        return self._by_name.get((region, name.lower()))

    def named(self, region: str, name: str, kind: str) -> Kind:
        """Return a resource by its name.

        :raises ApiError: there is none.
        """
        resource = self.find(region, name)
        if resource is None:
            arn = f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind}/{name.lower()}"
            raise ApiError("ValidationException", f'Could not find {self.noun} "{arn}".')
        return resource

    def remove(self, resource: Kind) -> None:
        """Remove a resource."""
        self._by_name.pop((resource.region, resource.name.lower()), None)

    def all(self) -> list[Kind]:
        """Return every resource."""
        return list(self._by_name.values())

    def page(self, region: str, params: Params, member: str, summary: Callable[[Kind], dict[str, Any]]) -> Any:
        """Return one page of a list, filtered and sorted as its parameters tell."""
        chosen = [item for (place, _), item in self._by_name.items() if place == region and _matches(item, params)]
        by_name = params.get("SortBy") == "Name"
        descending = params.get("SortOrder", "Descending") == "Descending"
        chosen.sort(key=lambda item: item.name if by_name else (item.created_at, item.name), reverse=descending)
        return paging.page([summary(item) for item in chosen], params, member)


def _matches(item: Resource, params: Params) -> bool:
    after, before = params.get("CreationTimeAfter"), params.get("CreationTimeBefore")
    created_s = item.created_at.replace(tzinfo=UTC).timestamp()
    return (
        params.get("NameContains", "").lower() in item.name.lower()
        and params.get("StatusEquals") in (None, item.status)
        and (after is None or created_s > after)
        and (before is None or created_s < before)
    )
