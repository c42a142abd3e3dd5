"""Use cases on the role of a cluster's VMs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.aws.ec2 import instance_roles
from orchestrator.aws.ec2.instance_roles import InstanceRoleDocuments
from orchestrator.aws.storage.locations import S3Url
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.errors import UsageError
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.jobs.spec import JobSpec

ROLE = "role"
"""Kind of the journal entries about roles."""


@dataclass(frozen=True)
class InstanceRolePlan:
    """The role of VMs as it is, and as it is to be; its instance profile has the same name.

    :param arn: empty if the role does not exist.
    :param role: the documents that it is to have; None for a profile of the user's own, which is never changed.
    :param is_current: True if nothing has to be changed.
    :param is_set: True if ``[aws] instance_profile`` names it: VMs that are launched have it.
    :param reads: data of S3 that VMs may read.
    :param writes: folders of S3 that VMs may read and write.
    :param ends: True if it is to be deleted.
    """

    name: str
    arn: str
    role: InstanceRoleDocuments | None
    is_current: bool
    is_set: bool
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    ends: bool = False


@dataclass(frozen=True)
class InstanceRoleEnd:
    """The role of VMs that was deleted, with its instance profile.

    :param is_set: True if ``[aws] instance_profile`` still names it.
    """

    name: str
    is_set: bool


class InstanceRoleService:
    """The role of one cluster's VMs.

    :param load_job: reads a job; None for the one in the settings.
    """

    def __init__(self, context: ClusterContext, load_job: Callable[[JobSource | None], JobSpec]) -> None:
        self.context = context
        self._load_job = load_job

    def plan(self, job: JobSource | None = None, data: Sequence[str] = ()) -> InstanceRolePlan:
        """Return the role that the VMs are to have for a job, besides the permissions that it has already.

        :param job: another job than the one in the settings, or a script.
        :param data: further data that VMs may read: ``s3://bucket/prefix``.
        :raises UsageError: neither names anything on S3.
        """
        own, setting = self.context.cluster_id, self._setting
        name = instance_roles.role_name(own)
        if setting and setting != name:
            return InstanceRolePlan(setting, "", None, is_current=True, is_set=True)
        spec = self._load_job(job)
        reads = [*(item.source for item in spec.data if item.is_s3 and not item.is_public), *data]
        writes = [spec.checkpoints.url] if spec.checkpoints else []
        arn, current = instance_roles.find(self.context.clients, name, own)
        old_reads, old_writes = instance_roles.urls_in(current)
        reads, writes = _places([*old_reads, *reads]), _places([*old_writes, *writes])
        if not (reads or writes):
            fix = "add data or checkpoints to job.ini, or data=..., with s3://bucket/prefix"
            raise UsageError(f"{spec.name} names nothing on S3: its VMs need no role", fix=fix)
        partition = self.context.identity.arn.split(":")[1]
        role = instance_roles.documents(name, reads, writes, partition)
        is_current = current == role.permissions
        return InstanceRolePlan(name, arn, role, is_current, setting == name, tuple(reads), tuple(writes))

    def create(self, plan: InstanceRolePlan) -> InstanceRolePlan:
        """Create the role of a plan, or give it the permissions of the plan.

        :return: the role as it is then.
        """
        if plan.role is None or plan.is_current:
            return plan
        own, journal = self.context.cluster_id, self.context.journal
        entry = journal.record_intent(ROLE, name=plan.name, **own.journal_fields)
        arn = instance_roles.create(self.context.clients, plan.role, own.tags)
        journal.record_outcome(entry, arn=arn)
        return replace(plan, arn=arn, is_current=True)

    def find(self) -> InstanceRolePlan:
        """Return the role that Stratus created for this cluster.

        :raises UsageError: there is none.
        """
        own = self.context.cluster_id
        name = instance_roles.role_name(own)
        arn, current = instance_roles.find(self.context.clients, name, own)
        if not arn:
            raise instance_roles.missing_role(name)
        reads, writes = instance_roles.urls_in(current)
        role = instance_roles.documents(name, reads, writes)
        return InstanceRolePlan(name, arn, role, True, self._setting == name, tuple(reads), tuple(writes), ends=True)

    def delete(self, plan: InstanceRolePlan) -> InstanceRoleEnd:
        """Delete a role and its instance profile; VMs that have it lose its permissions."""
        instance_roles.delete(self.context.clients, plan.name)
        return InstanceRoleEnd(plan.name, plan.is_set)

    @property
    def _setting(self) -> str:
        return self.context.settings.aws.instance_profile.rpartition("/")[2]


def _places(urls: Sequence[str]) -> list[str]:
    """Return places without duplicates, as a policy names them."""
    for url in urls:
        S3Url.parse(url)
    return list(dict.fromkeys(url.rstrip("/") for url in urls))
