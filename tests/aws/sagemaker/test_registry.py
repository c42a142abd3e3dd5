"""Repositories and the login of ECR, in the embedded cloud."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.aws.sagemaker import registry
from orchestrator.aws.sagemaker.training_request import default_image
from orchestrator.core.errors import UsageError
from tests.support.localcloud.pushed_images import put_image
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


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (f"{HOST}/team/job:1", ""),
        (f"{HOST}/team/job:2", "the repository team/job has no image 2"),
        (f"{HOST}/team/job@sha256:{'0' * 64}", f"the repository team/job has no image sha256:{'0' * 64}"),
        (f"{HOST}/team/job", "the repository team/job has no image latest"),
        (f"{HOST}/team/other:1", "there is no repository team/other in ECR"),
        ("127.0.0.1:5000/team/job:1", ""),
        (f"{HOST}/stratus/job:1", ""),  # a rehearsal needs no engine
        (default_image("us-west-2", "ml.m5.xlarge"), ""),
        (default_image("us-west-2", "ml.g5.xlarge"), ""),
        (default_image("us-west-2", "ml.m5.xlarge").replace("2.8.0", "latest"), "no image latest-cpu"),
    ],
)
def test_an_image_is_looked_up_in_ecr(image: str, problem: str, simulate: Simulate) -> None:
    clients = simulate().session().context.clients
    put_image(clients.service("ecr"), "team/job:1")

    if not problem:
        registry.check_image(clients, image, "push it")
        return
    with pytest.raises(UsageError, match=problem) as caught:
        registry.check_image(clients, image, "push it")
    assert (caught.value.where, caught.value.fix) == (image, "push it")


def test_an_image_that_may_not_be_looked_up_passes(simulate: Simulate) -> None:
    project = simulate(make_fault("denied", action="ecr:BatchGetImage"))
    registry.check_image(project.session().context.clients, f"{HOST}/team/job:1", "push it")


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
