"""Text and JSON documents of the role of VMs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestrator.aws.ec2.instance_roles import InstanceRoleDocuments
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import Styled, line
from orchestrator.services.instance_roles import InstanceRoleEnd, InstanceRolePlan


@lines.register(InstanceRolePlan)
def _(plan: InstanceRolePlan, _now: datetime) -> Lines:
    heading = line(_heading("Role"), f"{plan.name}  ({_state(plan)})")
    if plan.role is None:
        return [heading]
    places = [line(_heading("May"), text) for text in _places(plan)]
    return [heading, line(_heading("Trust"), "EC2 alone"), *places, *_setting(plan)]


def _places(plan: InstanceRolePlan) -> Iterator[str]:
    yield from (f"read {url}" for url in plan.reads)
    yield from (f"read, write and delete what is below {url}/" for url in plan.writes)


def _state(plan: InstanceRolePlan) -> str:
    if plan.role is None:
        return "named in [aws] instance_profile, never changed"
    if plan.is_current:
        return "is there, with these permissions"
    return "its permissions change" if plan.arn else "new"


def _setting(plan: InstanceRolePlan) -> Lines:
    if not plan.is_current or plan.is_set or plan.ends:
        return []
    return [
        f"  Next: write  instance_profile = {plan.name}  under [aws] in the config file; VMs launched then have it."
    ]


def _heading(word: str) -> Styled:
    return Styled(f"  {word:<6} ", "heading")


@document.register(InstanceRolePlan)
def _(plan: InstanceRolePlan) -> Document:
    return {
        "name": plan.name,
        "arn": plan.arn,
        "current": plan.is_current,
        "set": plan.is_set,
        "reads": list(plan.reads),
        "writes": list(plan.writes),
        "role": document(plan.role),
    }


@document.register(InstanceRoleDocuments)
def _(role: InstanceRoleDocuments) -> Document:
    return {"name": role.name, "trust": role.trust, "permissions": role.permissions}


@lines.register(InstanceRoleEnd)
def _(end: InstanceRoleEnd, _now: datetime) -> Lines:
    setting = ["  Remove instance_profile from the config file: a launch would be refused."] if end.is_set else []
    return [f"  {end.name} deleted, with its instance profile. VMs that have it may use S3 no more.", *setting]


@document.register(InstanceRoleEnd)
def _(end: InstanceRoleEnd) -> Document:
    return {"name": end.name, "set": end.is_set}
