"""Texts and documents of SageMaker's role, and of images in ECR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from orchestrator.aws.sagemaker.roles import RoleDocuments
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import Styled, line
from orchestrator.services.images import ImagePlan, PushedImage
from orchestrator.services.roles import RolePlan


@lines.register(RolePlan)
def _(plan: RolePlan, _now: datetime) -> Lines:
    heading = line(_heading("Role"), f"{plan.arn or plan.name}  ({_state(plan)})")
    if plan.role is None:
        return [heading, *_pass_role(plan)]
    account = plan.role.trust["Statement"][0]["Condition"]["StringEquals"]["aws:SourceAccount"]
    trust = line(_heading("Trust"), f"SageMaker alone, for account {account} alone")
    if plan.is_current:
        return [heading, trust, *_pass_role(plan)]
    return [heading, trust, *_allowed(plan.role.permissions), *_pass_role(plan)]


def _state(plan: RolePlan) -> str:
    if plan.role is None:
        return "named in [sagemaker] role, never changed"
    if plan.is_current:
        return "is there, with these permissions"
    return "its permissions change" if plan.arn else "new"


def _allowed(permissions: Mapping[str, Any]) -> Iterator[Any]:
    for number, statement in enumerate(permissions["Statement"]):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        condition = "".join(f" if {key} is {' or '.join(_listed(values))}" for key, values in _conditions(statement))
        resources = [named] if isinstance(named := statement["Resource"], str) else named
        text = f"{' '.join(actions)} on {' '.join(resources)}{condition}"
        yield line(_heading("" if number else "May"), text)


def _conditions(statement: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for conditions in statement.get("Condition", {}).values():
        yield from conditions.items()


def _listed(values: Any) -> list[str]:
    return values if isinstance(values, list) else [values]


def _pass_role(plan: RolePlan) -> Lines:
    return [line(_heading("You"), f"need iam:PassRole on {plan.pass_role['Resource']} for SageMaker, and no more")]


def _heading(word: str) -> str:
    return Styled(f"  {word:<6} ", "heading")


@document.register(RolePlan)
def _(plan: RolePlan) -> Document:
    return {
        "name": plan.name,
        "arn": plan.arn,
        "bucket": plan.bucket,
        "current": plan.is_current,
        "role": document(plan.role),
        "pass_role": plan.pass_role,
    }


@document.register(RoleDocuments)
def _(role: RoleDocuments) -> Document:
    return {"name": role.name, "trust": role.trust, "permissions": role.permissions}


def image_plan(plan: ImagePlan) -> Lines:
    """Return what is built, and where it is pushed to."""
    place = "  (repository will be created)" if plan.is_new_repository else ""
    return [
        line(_heading("Image"), f"{plan.job.name}, from {plan.base}, with train and serve for SageMaker"),
        line(_heading("To"), f"{plan.registry}/{plan.name}{place}"),
        line(_heading("Price"), "$0.10 per GB and month in ECR"),
    ]


@lines.register(PushedImage)
def _(image: PushedImage, _now: datetime) -> Lines:
    return [f"  Pushed {image.image}", "  " + NextStep("TrainOnSageMaker") + f"  of {image.job} uses it."]


@document.register(PushedImage)
def _(image: PushedImage) -> Document:
    return {"job": image.job, "image": image.image, "tag": image.tag}
