"""Repositories and the login of ECR, in the embedded cloud."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.aws.sagemaker import registry
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]

NAME = "stratus/job:1"
HOST = "123456789012.dkr.ecr.us-west-2.amazonaws.com"


def test_a_repository_is_created_once_with_the_clusters_tags(simulate: Simulate) -> None:
    context = simulate().session().context
    before = registry.exists(context.clients, "stratus/job")
    for _ in range(2):
        registry.create(context.clients, "stratus/job", context.cluster_id.tags)
    access = registry.log_in(context.clients)
    ecr = context.clients.service("ecr")
    (repository,) = ecr.describe_repositories()["repositories"]
    tags = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]

    assert (before, registry.exists(context.clients, "stratus/job")) == (False, True)
    assert (access.host, access.user) == (HOST, "AWS")
    assert access.password.reveal() not in repr(access)
    assert {"Key": "stratus:cluster", "Value": "ml"} in tags


def test_the_image_of_a_job_is_the_last_one_pushed_to_this_account_and_region(simulate: Simulate) -> None:
    context = simulate().session().context
    own, journal = context.cluster_id, context.journal
    assert registry.pushed_image(journal, own, NAME) == ""
    for number in (1, 2):
        entry = journal.record_intent(registry.PUSH, name=NAME, **own.journal_fields)
        journal.record_outcome(entry, image=f"{HOST}/stratus/job@sha256:{number}")
    elsewhere = journal.record_intent(registry.PUSH, name=NAME, **{**own.journal_fields, "region": "eu-west-1"})
    journal.record_outcome(elsewhere, image="elsewhere")
    journal.record_intent(registry.PUSH, name=NAME, **own.journal_fields)

    assert registry.pushed_image(journal, own, NAME) == f"{HOST}/stratus/job@sha256:2"
    assert registry.pushed_image(journal, own, "stratus/other:1") == ""
