"""The IAM policy in docs/ is exact: a whole lifecycle passes under it, and it allows nothing else.

A new call to AWS needs its action to docs/iam-policy.json (on the narrowest resource and condition that EC2
supports for it), a row to docs/security.md, and the use that makes the call to `exercise_lifecycle` below. A call of
orchestrator/aws/sagemaker needs its action to docs/iam-policy-sagemaker.json and a row to docs/security.md.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

import localcloud
from orchestrator.aws import ecr as ecr_tokens
from orchestrator.aws.capacity import quotas
from orchestrator.aws.ec2 import instance_profiles, instances, security_groups
from orchestrator.aws.machines import coupling, reservations
from orchestrator.config.settings import InstallSettings
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.install import registry_login
from orchestrator.session import Session
from tests.support.aws.iam_policy import (
    DISKS,
    DISKS_POLICY,
    POLICY,
    SAGEMAKER,
    SAGEMAKER_POLICY,
    Call,
    Claim,
    Policy,
    Recorder,
    Tags,
    callable_actions,
)
from tests.support.localcloud.clients import boto
from tests.support.localcloud.iam_enforcement import ROLE, as_user, enforce
from tests.support.localcloud.instances import allow_ssh
from tests.support.paths import ROOT
from tests.support.project import Project
from tests.support.tcp_forwarder import forwarding

ANYWHERE = {
    "sts:GetCallerIdentity": "needs no permission, whatever policies say",
    **{
        f"sagemaker:List{kind}": "TerminateAll looks whether another computer used SageMaker; a refusal is no concern"
        for kind in ("TrainingJobs", "HyperParameterTuningJobs", "TransformJobs", "Endpoints")
    },
    "scheduler:ListSchedules": "the same, for what ends its endpoints",
    "ec2:DescribeVolumes": "the same, for volumes that are kept",
    "elasticfilesystem:DescribeFileSystems": "the same, for file systems",
    "fsx:DescribeFileSystems": "the same, for file systems",
}
"""Actions that a user may be denied; each with its reason."""

ELSEWHERE = {
    "iam:PassRole": "EC2 asks for it on RunInstances with a profile; there is no call of that name",
    **dict.fromkeys(("iam:TagInstanceProfile", "iam:TagRole"), "IAM asks for it on every creation with tags"),
    "ecr:BatchGetImage": "a machine's engine makes it, with the login that GetAuthorizationToken gave",
    "ecr:GetDownloadUrlForLayer": "the same",
    **ANYWHERE,
}
"""Actions that are called, or allowed, and need not be both; each with its reason."""

PUSH = ("BatchCheckLayerAvailability", "CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart")
ELSEWHERE_SAGEMAKER = {
    **{f"ecr:{action}": "this computer's engine makes it, with a login, when it pushes" for action in PUSH},
    "ecr:TagResource": "ECR asks for it on CreateRepository with tags",
    "iam:PassRole": "SageMaker asks for it on every call that names a role; there is no call of that name",
    "iam:TagRole": "IAM asks for it on CreateRole with tags",
    "sagemaker:AddTags": "SageMaker asks for it on every call that creates something with tags",
    "s3:ListBucket": "the permission of ListObjectsV2",
    "s3:ListObjectsV2": "its permission is s3:ListBucket",
}
"""The same for the policy for SageMaker."""


ELSEWHERE_DISKS = {
    "ec2:RunInstances": "its snapshots are named there",
    "ec2:CreateTags": "called by orchestrator/aws/ec2",
    **{
        f"ec2:{action}": "EFS and FSx make it in the caller's name"
        for action in (
            "CreateNetworkInterface",
            "DeleteNetworkInterface",
            "DescribeNetworkInterfaces",
            "DescribeVpcs",
        )
    },
    "elasticfilesystem:TagResource": "EFS asks for it on CreateFileSystem with tags",
    "fsx:TagResource": "FSx asks for it on CreateFileSystem with tags",
}
"""The same for the policy for disks."""


def exercise_lifecycle(lab: Project) -> None:
    """Make every call to AWS once."""
    with lab.session() as session:
        session.cluster.status()
        session.cluster.plan(1)
        session.cluster.launch(session.cluster.plan(2))
        session.jobs.install()
        identity = session.cluster.status().instances[0].id
        ecr_token = partial(ecr_tokens.authorization_token, session.context.clients)
        images = ["123456789012.dkr.ecr.us-west-2.amazonaws.com/x"]
        ecr = registry_login.find_login(ecr_token, InstallSettings(), images, {})
        assert ecr
        assert ecr.password().reveal()
        instances.console_output(session.context.clients, identity)
        instances.find_impaired(session.context.clients, [identity])
        session.account.refresh_access()
        session.context.prices.refresh_spot(["c7i.2xlarge"])
        quota = session.account.request_quota_increase(600).usage.quota
        assert quota
        session.account.request_quota_increase(600)
        quotas.aws_default(session.context.clients, quota)
        late = CloudRefused("Invalid IAM Instance Profile name", code="InvalidParameterValue")
        assert instance_profiles.is_propagating(session.context.clients, ROLE, late)
        move_data(lab, session)
        bake(session)
        find_reservation(session)
        session.cluster.stop()
        session.cluster.start()
    own_role = lab.session(adapt=lambda loaded: replace(loaded, aws=replace(loaded.aws, instance_profile="")))
    with own_role as session:
        session.instance_roles.create(session.instance_roles.plan(data=["s3://own/data"]))
        session.instance_roles.delete(session.instance_roles.find())
    moved = lab.config.read_text().replace("ssh_from = 127.0.0.1/32", "ssh_from = 127.0.0.0/31")
    lab.config.write_text(moved.replace("[aws]", "[aws]\nterminate_regions = all"))
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        session.cluster.terminate()
    together = lab.session(adapt=lambda loaded: replace(loaded, vms=replace(loaded.vms, placement="cluster")))
    with together as session:
        # SSH is not needed.
        session.cluster.launcher.request(session.cluster.plan(1))
        (group,) = security_groups.own_groups(session.context.clients, session.context.cluster_id)
        coupling.ensure_egress(session.context.clients, group["GroupId"])
        session.cluster.terminate()
    default = [{"Name": "group-name", "Values": ["default"]}]
    admin = boto(lab.env, "ec2")
    (named,) = admin.describe_security_groups(Filters=default)["SecurityGroups"]
    allow_ssh(admin, named["GroupId"], network="0.0.0.0/0")
    lab.config.write_text(lab.config.read_text().replace("[aws]", f"[aws]\nsecurity_group_id = {named['GroupId']}"))
    with lab.session() as session:
        # SSH is not needed: only its request has calls of its own.
        session.cluster.launcher.request(session.cluster.plan(1))
        session.cluster.terminate()


def move_data(lab: Project, session: Session) -> None:
    """Make every call to S3: a file of several parts, sent, cut, sent again and fetched."""
    boto(lab.env, "s3").create_bucket(Bucket="own", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    file = lab.folder / "data.bin"
    file.write_bytes(bytes(9 << 20))
    with forwarding(lab.env["AWS_ENDPOINT_URL"], cut_after=1 << 20, refuse=100) as line:
        cut = lab.session(adapt=lambda loaded: replace(loaded, aws=replace(loaded.aws, endpoint_url=line.url)))
        with cut, pytest.raises(StratusError):
            cut.storage.upload(file, "s3://own/data.bin")
    session.storage.upload(file, "s3://own/data.bin")
    session.storage.download("s3://own/data.bin", lab.folder / "copy.bin")
    boto(lab.env, "s3").create_multipart_upload(Bucket="own", Key="left.bin")
    assert session.storage.list("s3://own/").unfinished
    assert session.storage.abort("s3://own/").aborted


def find_reservation(session: Session) -> None:
    """Look up a capacity reservation."""
    with pytest.raises(UsageError, match="there is no capacity reservation"):
        reservations.find(session.context.clients, "cr-0123456789abcdef0")


def bake(session: Session) -> None:
    """Make every call on baked images."""
    report = session.baked_images.bake(session.baked_images.plan())
    assert session.baked_images.delete([report.id]).remaining == ()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Recorder]]:
    """A cloud that enforces the policy, and all calls of a whole life in it."""
    home = tmp_path_factory.mktemp("strict")
    env = localcloud.up(home, pending=0.2, boot=0.05, bound_to=os.getpid())
    try:
        env = enforce(env, POLICY)
        admin = boto(env, "ec2")
        lab = Project(tmp_path_factory.mktemp("policy"), "strict", env)
        lab.job("single = true\n")
        recorder = Recorder(lambda ids: tags_of(admin, ids))
        lab.on_session = recorder.watch
        exercise_lifecycle(lab)
        yield lab, recorder
    finally:
        localcloud.down(home)


def tags_of(admin: Any, ids: Sequence[str]) -> dict[str, Tags]:
    """The tags that resources have now."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    if ids:
        for tag in admin.describe_tags(Filters=[{"Name": "resource-id", "Values": list(ids)}])["Tags"]:
            found[tag["ResourceId"]][tag["Key"]] = tag["Value"]
    return dict(found)


@pytest.mark.slow
def test_calls_that_the_policy_does_not_name_are_refused(world: tuple[Project, Recorder]) -> None:
    """So that the life that passed here passed under the policy."""
    lab, _ = world
    with pytest.raises(ClientError, match="not authorized to perform"):
        boto(as_user(lab.env), "ec2").describe_volumes()


def test_every_call_of_the_lifecycle_is_allowed_and_nothing_else(world: tuple[Project, Recorder]) -> None:
    """Both ways: an action that is missing fails a launch, one too many is a gift to whoever gets at the keys."""
    _, recorder = world
    named = Policy.load().actions
    missing = recorder.actions - named - ELSEWHERE.keys()
    unneeded = named - recorder.actions - ELSEWHERE.keys()

    assert not missing, f"add to docs/iam-policy.json and docs/security.md: {sorted(missing)}"
    assert not unneeded, f"no call of exercise_lifecycle needs {sorted(unneeded)}: remove it, or add its use there"


def test_the_lifecycle_makes_every_call_of_the_source(world: tuple[Project, Recorder]) -> None:
    """A call that is in the source and not in that life would be missing from the policy unseen."""
    _, recorder = world
    callable_ = callable_actions()
    unseen = {action: module for action, module in callable_.items() if action not in recorder.actions}

    assert not unseen.keys() - ELSEWHERE.keys(), f"let exercise_lifecycle make these calls, or say why not: {unseen}"
    assert not recorder.actions - callable_.keys() - ELSEWHERE.keys(), (
        "calls of exercise_lifecycle that callable_actions() does not read"
    )


def test_resources_and_conditions_allow_every_call_as_it_was_made(world: tuple[Project, Recorder]) -> None:
    """Judged as AWS does: the resource that is named, the tags it has or gets, the metadata options."""
    _, recorder = world
    policy = Policy.load()
    found = {str(claim): claim for call in recorder.calls for claim in call.claims()}
    claims = [named(claim) for claim in found.values() if claim.action not in ANYWHERE]

    refused = [str(claim) for claim in claims if not policy.allowing(claim)]
    assert not refused, "\n".join(["docs/iam-policy.json refuses:", *refused])
    used = {one["Sid"] for claim in claims for one in policy.allowing(claim)}
    assert used == {one["Sid"] for one in policy.statements}


def named(claim: Claim) -> Claim:
    """A claim as it is with a role that is named as docs/security.md asks for; the rehearsal's has its own name."""
    return replace(claim, resource=claim.resource.replace(f"role/{ROLE}", "role/stratus-host"))


TAGGED = {"i-1": {"stratus:cluster": "ml"}, "sg-1": {"stratus:cluster": "ml"}, "key-1": {"stratus:cluster": "ml"}}


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("TerminateInstances", {"InstanceIds": ["i-1"]}),
        ("StopInstances", {"InstanceIds": ["i-1"]}),
        ("StartInstances", {"InstanceIds": ["i-1"]}),
        ("GetConsoleOutput", {"InstanceId": "i-1"}),
        ("DeleteSecurityGroup", {"GroupId": "sg-1"}),
        ("AuthorizeSecurityGroupEgress", {"GroupId": "sg-1"}),
        ("AuthorizeSecurityGroupIngress", {"GroupId": "sg-1"}),
        ("RevokeSecurityGroupIngress", {"GroupId": "sg-1"}),
        ("RevokeSecurityGroupEgress", {"GroupId": "sg-1"}),
        ("DeleteKeyPair", {"KeyPairId": "key-1"}),
        ("CreateTags", {"Resources": ["i-1"], "Tags": [{"Key": "stratus:hostkey", "Value": "A"}]}),
    ],
)
def test_only_resources_with_our_tag_may_be_changed(operation: str, parameters: dict[str, Any]) -> None:
    """What others own in the account is out of reach, even for a toolkit gone mad."""
    assert allowed(Call("ec2", operation, parameters, TAGGED))
    assert not allowed(Call("ec2", operation, parameters, {}))


def test_an_instance_of_others_cannot_be_tagged_as_ours() -> None:
    """Nor can ours be given to another cluster: only the tags that change in a life may be written again."""
    tag = {"Resources": ["i-1"], "Tags": [{"Key": "stratus:cluster", "Value": "ml"}]}
    assert not allowed(Call("ec2", "CreateTags", tag, {}))
    assert not allowed(Call("ec2", "CreateTags", tag, TAGGED))


@pytest.mark.parametrize("change", ["no tags", "old metadata", "no end"])
def test_an_instance_without_tags_or_imdsv2_cannot_be_launched(change: str) -> None:
    """The policy holds what the toolkit promises."""
    tags = [{"Key": key, "Value": "x"} for key in ("stratus:cluster", "stratus:expires")]
    kinds = ("instance", "volume", "network-interface")
    good: dict[str, Any] = {
        "MetadataOptions": {"HttpTokens": "required"},
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
    }
    bad = {
        "no tags": {**good, "TagSpecifications": []},
        "old metadata": {**good, "MetadataOptions": {"HttpTokens": "optional"}},
        "no end": {**good, "TagSpecifications": [{"ResourceType": kind, "Tags": tags[:1]} for kind in kinds]},
    }[change]

    assert allowed(Call("ec2", "RunInstances", good))
    assert not allowed(Call("ec2", "RunInstances", bad))


def allowed(call: Call) -> bool:
    """Whether the policy allows all that a call claims."""
    return all(Policy.load().allowing(claim) for claim in call.claims())


def test_a_missing_permission_is_named_with_its_action(world: tuple[Project, Recorder]) -> None:
    """The message names what to add."""
    lab, _ = world
    with lab.session() as session:
        clients = session.context.clients
        with pytest.raises(CloudRefused, match="ec2:DescribeVolumes"), clients.translate_errors("looking at volumes"):
            clients.ec2.describe_volumes()


def test_the_page_on_security_names_every_action_with_its_reason() -> None:
    """The policy can be read without AWS's reference at hand."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    actions = Policy.load(POLICY, SAGEMAKER_POLICY, DISKS_POLICY).actions
    unexplained = {action for action in actions if f"`{action}`" not in page}

    assert not unexplained, f"add a row to docs/security.md: {sorted(unexplained)}"


def test_the_policy_fits_the_way_in_which_the_pages_attach_it() -> None:
    """AWS counts no blanks: 6,144 characters for a managed policy, 2,048 for those inside of users."""
    characters = [len("".join(path.read_text().split())) for path in (POLICY, SAGEMAKER_POLICY, DISKS_POLICY)]
    pages = [(ROOT / "docs" / name).read_text() for name in ("security.md", "aws-account.md")]
    assert max(characters) <= 6144
    assert max(characters) <= 2048 or not any("put-user-policy" in page for page in pages)


def test_the_policy_for_disks_allows_every_call_of_its_source_and_nothing_else() -> None:
    """It is attached beside that for EC2, where the config has [volumes] to keep or [file_systems]."""
    policy, calls = Policy.load(DISKS_POLICY).actions, callable_actions(DISKS)
    missing = calls.keys() - policy - Policy.load().actions
    unneeded = policy - calls.keys() - ELSEWHERE_DISKS.keys()

    assert not missing, f"add to docs/iam-policy-disks.json: {sorted(missing)}"
    assert not unneeded, f"no call of orchestrator/aws/disks needs {sorted(unneeded)}"


def test_the_policy_for_sagemaker_allows_every_call_of_its_source_and_nothing_else() -> None:
    """It is attached beside that for EC2, whose actions it need not repeat."""
    policy, calls = Policy.load(SAGEMAKER_POLICY).actions, callable_actions(SAGEMAKER)
    missing = {action: module for action, module in calls.items() if action not in policy | Policy.load().actions}
    unneeded = policy - calls.keys() - ELSEWHERE_SAGEMAKER.keys()

    assert not missing.keys() - ELSEWHERE_SAGEMAKER.keys(), f"add to docs/iam-policy-sagemaker.json: {missing}"
    assert not unneeded, f"no call of orchestrator/aws/sagemaker needs {sorted(unneeded)}"
