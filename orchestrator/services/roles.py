"""Use cases on the execution role of SageMaker's containers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.aws.sagemaker import artifacts, roles
from orchestrator.aws.sagemaker.roles import RoleDocuments, RoleScope
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.errors import UsageError

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
ROLE = "role"
"""Kind of the journal entries about roles."""


@dataclass(frozen=True)
class RolePlan:
    """An execution role as it is, and as it is to be.

    :param arn: empty if the role does not exist.
    :param role: the documents that it is to have; None for a role of the user's own, which is never changed.
    :param is_current: True if nothing has to be changed.
    :param bucket: for code, results and checkpoints.
    :param pass_role: statement that allows a user to hand the role to SageMaker.
    """

    name: str
    arn: str
    role: RoleDocuments | None
    is_current: bool
    bucket: str
    pass_role: Mapping[str, Any]


class RoleService:
    """The execution role of one cluster."""

    def __init__(self, context: ClusterContext) -> None:
        self.context = context

    def plan(self, inputs: Sequence[str] = ()) -> RolePlan:
        """Return the role that SageMaker's containers are to have, and its permissions.

        :param inputs: data outside the project's bucket that the role may read, besides what it may already:
            ``s3://bucket/prefix``.
        :raises UsageError: the role that the settings name does not exist, or an input is no URL of S3.
        """
        _check_urls(inputs)
        own, clients = self.context.cluster_id, self.context.clients
        if setting := self.context.settings.sagemaker.role:
            arn = roles.execution_role_arn(clients, setting, own)
            return RolePlan(arn.rpartition("/")[2], arn, None, True, self._bucket, roles.pass_role_statement(arn))
        name = roles.role_name(own)
        arn = roles.find_arn(clients, name)
        current = roles.current_permissions(clients, name) if arn else None
        readable = dict.fromkeys([*roles.inputs_of(current or {}), *inputs])
        role = roles.documents(name, self._scope(tuple(readable)))
        pass_role = roles.pass_role_statement(arn or roles.role_arn(own.account, name, self._partition))
        return RolePlan(name, arn, role, current == role.permissions, self._bucket, pass_role)

    def create(self, plan: RolePlan) -> RolePlan:
        """Create the role of a plan, or give it the permissions of the plan.

        :return: the role as it is then.
        """
        if plan.role is None or plan.is_current:
            return plan
        own = self.context.cluster_id
        entry = self.context.journal.record_intent(ROLE, name=plan.name, **own.journal_fields)
        arn = roles.create(self.context.clients, plan.role, own.tags)
        self.context.journal.record_outcome(entry, arn=arn)
        return RolePlan(plan.name, arn, plan.role, True, plan.bucket, roles.pass_role_statement(arn))

    @property
    def _bucket(self) -> str:
        own = self.context.cluster_id
        return self.context.settings.sagemaker.sagemaker_bucket or artifacts.default_bucket(own.account, own.region)

    @property
    def _partition(self) -> str:
        return self.context.identity.arn.split(":")[1]

    def _scope(self, inputs: tuple[str, ...]) -> RoleScope:
        own, settings = self.context.cluster_id, self.context.settings
        # Data on the cluster's file systems is reached from their subnets.
        in_vpc = bool(settings.sagemaker.training_subnets or settings.file_systems)
        return RoleScope(own.account, own.region, self._bucket, inputs, in_vpc, self._partition)


def _check_urls(inputs: Sequence[str]) -> None:
    for url in inputs:
        bucket = url.removeprefix("s3://").partition("/")[0]
        if not url.startswith("s3://") or not bucket:
            raise UsageError(f"{url!r} is not data on S3", fix="write s3://bucket/prefix/")
        if not _BUCKET.fullmatch(bucket):
            problem = f"{bucket} is not a name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"
            raise UsageError(problem, where=url)
