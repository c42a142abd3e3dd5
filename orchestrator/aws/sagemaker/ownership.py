"""Ownership of SageMaker's resources by their tags, which are looked up once: the prompt and waits list again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId


def tags(clients: Clients, arn: str) -> list[Any]:
    """Return the tags of a resource; none if it is gone by now: what was listed may be deleted meanwhile.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"reading the tags of {arn}"):
        try:
            pages = clients.service("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
            return [tag for page in pages for tag in page["Tags"]]
        except errors.error_types() as error:
            if is_missing(error):
                return []
            raise


def is_missing(error: Exception) -> bool:
    """Return True for the error on a resource that does not exist."""
    code, message = errors.code_of(error), errors.message_of(error).lower()
    return code == "ResourceNotFound" or (code == "ValidationException" and "not f" in message)


@dataclass(frozen=True)
class TagMemo:
    """Tags that were read before.

    A resource is told by its ARN and its time of creation: a name may be used again, by another owner.
    """

    clients: Clients
    _tags: dict[tuple[str, datetime], list[Any]] = field(default_factory=dict)

    def owns(self, own: ClusterId, arn: str, created_at: datetime) -> bool:
        """Return True if a resource is one of the cluster and owner.

        :raises StratusError: SageMaker refused, or does not answer.
        """
        key = arn, created_at
        if key not in self._tags:
            listed = tags(self.clients, arn)
            if not listed:
                # It may be gone. A resource without tags has no owner, and is looked up again.
                return False
            self._tags[key] = listed
        return own.matches(self._tags[key])

    def own(self, own: ClusterId, summaries: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
        """Yield the summaries of a list that are of the cluster and owner.

        :param kind: beginning of their members: ``Endpoint`` for EndpointArn.
        """
        return (item for item in summaries if self.owns(own, item[f"{kind}Arn"], item["CreationTime"]))
