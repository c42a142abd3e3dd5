"""Machines, their group and their key, against a cloud that answers over the wire as EC2 does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from orchestrator.aws import client, identity
from orchestrator.aws.ec2 import images, instance_types, key_pairs, network, security_groups, state_changes, waiters
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.launch import plan as launch_plan
from orchestrator.aws.launch import run_instances
from orchestrator.config.settings import AwsSettings, ClusterSettings, Settings, SshSettings
from orchestrator.core.clock import REAL_CLOCK, Backoff, Clock
from orchestrator.core.errors import CloudRefused, HostsFailed, UsageError
from orchestrator.core.journal import Journal
from orchestrator.crypto import ssh_keys
from tests.support import aws_wire
from tests.support.aws_values import look_up_plan

HASTY = Clock(backoff=Backoff(first_s=0.02, longest_s=0.2))
ME = "198.51.100.7/32"


@dataclass
class Desk:
    """One person at one computer: clients that count their calls, settings, and a home folder."""

    cloud: dict[str, str]
    home: Path
    settings: Settings
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.clients = self.clients_at(HASTY)
        self.identity = identity.caller_identity(self.clients)
        self.mine = identity.cluster_id(self.clients, self.settings, self.identity)
        self.journal = Journal(self.home, REAL_CLOCK)
        self.login = key_pairs.for_settings(self.settings, self.mine, home=self.home)

    def clients_at(self, clock: Clock) -> client.Clients:
        session = aws_wire.session(self.cloud["AWS_ACCESS_KEY_ID"], self.cloud["AWS_SECRET_ACCESS_KEY"])
        session.events.register("before-send", self._count)
        return client.Clients(session, region="us-west-2", endpoint_url=self.cloud["AWS_ENDPOINT_URL"], clock=clock)

    def _count(self, event_name: str, **_: Any) -> None:
        self.calls[event_name.rpartition(".")[2]] += 1

    def plan(self, count: int) -> launch_plan.LaunchPlan:
        return look_up_plan(self.clients, self.settings, self.mine, count)

    def key(self, plan: launch_plan.LaunchPlan) -> run_instances.LaunchResources:
        access = security_groups.ssh_access(self.settings, plan.placement.vpc_id)
        group = security_groups.ensure(self.clients, self.mine, access, journal=self.journal)
        key_pairs.ensure(self.clients, self.mine, self.login, journal=self.journal, existing_names=plan.existing_names)
        return run_instances.LaunchResources(self.login.key_name, group, ssh_keys.generate_host_key())

    def launch(self, count: int) -> list[ec2_instances.Instance]:
        plan = self.plan(count)
        return run_instances.launch(self.clients, plan, resources=self.key(plan), journal=self.journal)

    def machines(self) -> list[ec2_instances.Instance]:
        return ec2_instances.describe(self.clients, cluster=self.mine.cluster, owner=self.mine.owner)

    def running(self, instances: list[ec2_instances.Instance]) -> list[ec2_instances.Instance]:
        return list(waiters.wait_for_state(self.clients, [each.id for each in instances], deadline_s=30))

    def end(self) -> None:
        machines = ec2_instances.describe(self.clients, cluster=self.mine.cluster, owner=self.mine.owner)
        state_changes.terminate(self.clients, machines, cluster_id=self.mine)
        list(waiters.wait_terminated(self.clients, machines, deadline_s=30))
        security_groups.delete(self.clients, self.mine, deadline_s=30)
        key_pairs.delete(self.clients, self.mine, self.login)

    def raw(self, instance_id: str) -> dict[str, Any]:
        found = self.clients.ec2.describe_instances(InstanceIds=[instance_id])
        return dict(found["Reservations"][0]["Instances"][0])


def desk(cloud: dict[str, str], home: Path, cluster: str, **options: Any) -> Desk:
    where = AwsSettings(endpoint_url=cloud["AWS_ENDPOINT_URL"], ssh_from=ME)
    settings = Settings(
        cluster=ClusterSettings(name=cluster), aws=where, ssh=SshSettings(port=int(cloud["REHEARSAL_SSH_PORT"]))
    )
    return Desk(cloud, home, replace(settings, **options))


@pytest.fixture
def me(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A desk whose cluster no other test has; everything of it is gone afterwards."""
    made = desk(cloud, tmp_path, f"e{crc32(request.node.name.encode())}")
    yield made
    made.end()


@pytest.fixture(scope="module")
def two(
    cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Desk, list[ec2_instances.Instance]]]:
    """Two running machines, for tests that only look at them."""
    made = desk(cloud, tmp_path_factory.mktemp("desk"), "two")
    yield made, made.running(made.launch(2))
    made.end()


def tags(described: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}


# -- launching


def test_machines_come_from_one_call_with_all_their_tags(two: tuple[Desk, list[ec2_instances.Instance]]) -> None:
    desk, instances = two

    assert desk.calls["RunInstances"] == 1
    assert desk.calls["CreateTags"] == 0
    assert sorted(each.name for each in instances) == ["two-0", "two-1"]
    assert {(each.cluster, each.owner, each.type, each.state, each.user) for each in instances} == {
        ("two", desk.identity.owner, "c7i.2xlarge", "running", "ubuntu")
    }
    assert len({each.launch_id for each in instances}) == 1
    assert all(each.public_address and each.private_address and each.zone for each in instances)


def test_machines_say_when_they_end_and_by_which_key_they_are_known(
    two: tuple[Desk, list[ec2_instances.Instance]],
) -> None:
    for each in two[1]:
        assert each.expires_at is not None
        assert timedelta(hours=7.9) < each.expires_at - each.launched_at < timedelta(hours=8.1)
        assert each.max_hours == 8
        assert each.host_key.startswith("ssh-ed25519 AAAA")
        assert each.disk == ec2_instances.Disk("gp3", 75)
        assert each.key_name == two[0].login.key_name


def test_machines_answer_metadata_to_tokens_only_and_end_when_they_shut_down(
    two: tuple[Desk, list[ec2_instances.Instance]],
) -> None:
    desk, (first, _) = two
    options = desk.raw(first.id)["MetadataOptions"]
    behaviour = desk.clients.ec2.describe_instance_attribute(
        InstanceId=first.id, Attribute="instanceInitiatedShutdownBehavior"
    )

    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def test_disks_are_encrypted_tagged_and_go_with_their_machine(two: tuple[Desk, list[ec2_instances.Instance]]) -> None:
    desk, instances = two
    devices = [desk.raw(each.id)["BlockDeviceMappings"][0]["Ebs"] for each in instances]
    volumes = desk.clients.ec2.describe_volumes(VolumeIds=[each["VolumeId"] for each in devices])["Volumes"]

    assert [each["DeleteOnTermination"] for each in devices] == [True, True]
    assert {(each["Encrypted"], each["VolumeType"], each["Size"]) for each in volumes} == {(True, "gp3", 75)}
    assert {tags(each)["stratus:cluster"] for each in volumes} == {"two"}


def test_another_computer_sees_the_same_cluster(
    two: tuple[Desk, list[ec2_instances.Instance]], cloud: dict[str, str], tmp_path: Path
) -> None:
    other = desk(cloud, tmp_path, "two")

    assert [each.name for each in other.machines()] == ["two-0", "two-1"]
    assert {each.id for each in other.machines()} == {each.id for each in two[1]}


def test_looking_at_a_cluster_takes_two_calls(
    two: tuple[Desk, list[ec2_instances.Instance]], cloud: dict[str, str], tmp_path: Path
) -> None:
    other = desk(cloud, tmp_path, "two")
    other.machines()

    assert other.calls == {"GetCallerIdentity": 1, "DescribeInstances": 1}
    assert two[1]


def test_a_lost_answer_does_not_make_a_second_fleet(me: Desk) -> None:
    lost: list[str] = []

    def lose_first(request: Any, **_: Any) -> None:
        if not lost:
            lost.append(request.url)
            URLLib3Session().send(request)
            raise ReadTimeoutError(endpoint_url=request.url)

    plan = me.plan(2)
    key = me.key(plan)
    me.clients.ec2_once.meta.events.register("before-send.ec2.RunInstances", lose_first)
    instances = run_instances.launch(me.clients, plan, resources=key, journal=me.journal)

    assert len(lost) == 1
    assert {each.id for each in me.running(instances)} == {each.id for each in me.machines()}
    assert len(me.machines()) == 2
    assert me.journal.open_entries() == []


def test_later_machines_get_the_next_names_and_the_same_zone(me: Desk) -> None:
    first = me.running(me.launch(2))
    state_changes.terminate(me.clients, [each for each in first if each.name.endswith("-0")], cluster_id=me.mine)
    plan = me.plan(1)
    more = run_instances.launch(me.clients, plan, resources=me.key(plan), journal=me.journal)
    left = me.running(more)

    assert plan.subnet.zone == first[0].zone
    assert left[0].name.rpartition("-")[2] in ("0", "2")  # the ended one keeps its name until it is gone
    names = [each.name for each in me.machines() if each.is_alive]
    assert len(names) == len(set(names)) == 2


# -- stopping, starting, ending


def test_stopped_machines_start_again_with_a_new_time_to_live(me: Desk) -> None:
    (machine,) = me.running(me.launch(1))
    stopped = state_changes.stop(me.clients, [machine], cluster_id=me.mine)
    (asleep,) = waiters.wait_for_state(me.clients, [machine.id], state="stopped", deadline_s=30)
    later = Clock(now=lambda: HASTY.now() + timedelta(hours=1))
    started = state_changes.start(me.clients_at(later), [asleep], cluster_id=me.mine)
    (awake,) = me.running([machine])

    assert stopped[machine.id].is_ok
    assert started[machine.id].is_ok
    assert (awake.id, awake.name, awake.state) == (machine.id, machine.name, "running")
    assert machine.expires_at is not None
    assert awake.expires_at is not None
    assert awake.expires_at - machine.expires_at > timedelta(minutes=59)


def test_ending_leaves_no_machine_no_group_and_no_key(me: Desk) -> None:
    machines = me.running(me.launch(2))
    outcomes = state_changes.terminate(me.clients, machines, cluster_id=me.mine)
    gone = list(waiters.wait_terminated(me.clients, machines, deadline_s=30))
    deleted = security_groups.delete(me.clients, me.mine, deadline_s=30)
    pairs = key_pairs.delete(me.clients, me.mine, me.login)

    assert all(each.is_ok for each in outcomes.values())
    assert {each.id for each in gone} == {each.id for each in machines}
    assert me.machines() == []
    assert (len(deleted), pairs) == (1, [me.login.key_name])
    assert me.clients.ec2.describe_security_groups(Filters=me.mine.filters)["SecurityGroups"] == []
    assert me.clients.ec2.describe_key_pairs(Filters=me.mine.filters)["KeyPairs"] == []
    assert not me.login.key_file.exists()
    assert security_groups.delete(me.clients, me.mine) == []
    assert key_pairs.delete(me.clients, me.mine, me.login) == []


def test_foreign_machines_are_neither_found_nor_touched(me: Desk) -> None:
    (ours,) = me.running(me.launch(1))
    stranger = replace(me.mine, owner="eve")
    facts = me.raw(ours.id)
    order: Any = {"ImageId": facts["ImageId"], "InstanceType": "c7i.2xlarge", "MinCount": 1, "MaxCount": 1}
    theirs = me.clients.ec2.run_instances(
        **order, TagSpecifications=[{"ResourceType": "instance", "Tags": stranger.tags}]
    )["Instances"][0]["InstanceId"]
    bare = me.clients.ec2.run_instances(**order)["Instances"][0]["InstanceId"]

    everyone = ec2_instances.describe(me.clients, cluster=me.mine.cluster, owner=None)
    outcomes = state_changes.terminate(me.clients, everyone, cluster_id=me.mine)
    states = {each.id: each.state for each in ec2_instances.describe_ids(me.clients, [ours.id, theirs, bare])}
    me.clients.ec2.terminate_instances(InstanceIds=[theirs, bare])

    assert [each.id for each in me.machines()] in ([ours.id], [])
    assert {each.id for each in everyone} == {ours.id, theirs}
    assert (outcomes[ours.id].is_ok, outcomes[theirs].is_ok) == (True, False)
    assert states[theirs] in ("pending", "running")
    assert states[bare] in ("pending", "running")


def test_a_machine_that_dies_while_it_is_watched_is_told_with_its_reason(me: Desk) -> None:
    (machine,) = me.launch(1)
    me.clients.ec2.terminate_instances(InstanceIds=[machine.id])

    with pytest.raises(HostsFailed) as caught:
        me.running([machine])
    assert machine.name in str(caught.value)
    assert "instead" in str(caught.value)


# -- the group


def rules(me: Desk, group: str) -> set[tuple[str, int | None, str]]:
    found = me.clients.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    return {
        (rule["IpProtocol"], rule.get("FromPort"), source)
        for rule in found
        for source in [each["CidrIp"] for each in rule.get("IpRanges", [])]
        + [each["GroupId"] for each in rule.get("UserIdGroupPairs", [])]
    }


def test_the_group_admits_ssh_from_here_and_the_cluster_itself_and_nothing_else(me: Desk) -> None:
    vpc = network.find(me.clients, me.settings.aws).vpc_id
    group = security_groups.ensure(
        me.clients, me.mine, security_groups.ssh_access(me.settings, vpc), journal=me.journal
    )

    assert rules(me, group) == {("tcp", me.settings.ssh.port, ME), ("-1", None, group)}
    assert [(entry.kind, entry.outcome) for entry in me.journal.entries()] == [("group", {"id": group})]


def test_the_group_follows_your_address_and_keeps_what_you_added_by_hand(me: Desk) -> None:
    vpc = network.find(me.clients, me.settings.aws).vpc_id
    first = security_groups.ensure(
        me.clients, me.mine, security_groups.ssh_access(me.settings, vpc), journal=me.journal
    )
    me.clients.ec2.authorize_security_group_ingress(
        GroupId=first,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}],
    )
    before = me.calls["AuthorizeSecurityGroupIngress"]
    security_groups.ensure(me.clients, me.mine, security_groups.ssh_access(me.settings, vpc), journal=me.journal)
    unchanged = me.calls["AuthorizeSecurityGroupIngress"] - before
    auto = replace(me.settings, aws=replace(me.settings.aws, ssh_from="auto"))
    moved = security_groups.ssh_access(auto, vpc, find_address=lambda: "203.0.113.9")
    second = security_groups.ensure(me.clients, me.mine, moved, journal=me.journal)

    assert (first, unchanged) == (second, 0)
    port = me.settings.ssh.port
    assert rules(me, second) == {("tcp", port, "203.0.113.9/32"), ("tcp", 80, "192.0.2.0/24"), ("-1", None, second)}


def test_a_group_that_the_user_names_is_never_changed(me: Desk) -> None:
    vpc = network.find(me.clients, me.settings.aws).vpc_id
    theirs = me.clients.ec2.create_security_group(GroupName=me.mine.cluster, Description="d", VpcId=vpc)["GroupId"]
    named = replace(me.settings, aws=replace(me.settings.aws, security_group_id=theirs))
    access = security_groups.ssh_access(named, vpc, find_address=lambda: pytest.fail("nobody needs the address"))
    used = security_groups.ensure(me.clients, me.mine, access, journal=me.journal)
    deleted = security_groups.delete(me.clients, me.mine)
    left = rules(me, theirs)
    me.clients.ec2.delete_security_group(GroupId=theirs)

    assert (used, deleted, left) == (theirs, [], set())


def test_a_foreign_group_of_the_same_name_is_neither_used_nor_deleted(me: Desk) -> None:
    vpc = network.find(me.clients, me.settings.aws).vpc_id
    theirs = me.clients.ec2.create_security_group(GroupName=me.mine.resource_name, Description="d", VpcId=vpc)[
        "GroupId"
    ]

    with pytest.raises(CloudRefused, match="not tagged as this cluster's") as caught:
        security_groups.ensure(me.clients, me.mine, security_groups.ssh_access(me.settings, vpc), journal=me.journal)
    assert theirs in str(caught.value)
    assert security_groups.delete(me.clients, me.mine) == []
    me.clients.ec2.delete_security_group(GroupId=theirs)


def test_a_group_in_use_is_waited_for_and_named_at_the_deadline(me: Desk) -> None:
    me.running(me.launch(1))

    with pytest.raises(CloudRefused, match="DependencyViolation"):
        security_groups.delete(me.clients, me.mine, deadline_s=0.3)


# -- the key


def test_a_lost_private_key_is_told_plainly_while_machines_live(me: Desk) -> None:
    me.key(me.plan(1))
    me.login.key_file.unlink()

    with pytest.raises(UsageError, match=r"the private key of ml-0, ml-1 is not on this computer"):
        key_pairs.ensure(me.clients, me.mine, me.login, journal=me.journal, existing_names=["ml-0", "ml-1"])


def test_a_lost_private_key_is_replaced_when_no_machine_needs_it(me: Desk) -> None:
    me.key(me.plan(1))
    me.login.key_file.unlink()
    key_pairs.ensure(me.clients, me.mine, me.login, journal=me.journal)
    pairs = me.clients.ec2.describe_key_pairs(KeyNames=[me.login.key_name], IncludePublicKey=True)["KeyPairs"]

    assert pairs[0]["PublicKey"].split()[:2] == ssh_keys.read_public_key(me.login.key_file).split()


def test_another_private_key_than_the_living_machines_have_is_told(me: Desk) -> None:
    me.key(me.plan(1))
    me.login.key_file.unlink()
    ssh_keys.generate_login_key(me.login.key_file)

    with pytest.raises(UsageError, match="ml-0 were launched with another key"):
        key_pairs.ensure(me.clients, me.mine, me.login, journal=me.journal, existing_names=["ml-0"])


def test_a_key_that_the_user_names_must_be_the_one_that_ec2_holds(me: Desk, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    public = ssh_keys.generate_login_key(right)
    ssh_keys.generate_login_key(wrong)
    name = f"lab-{me.mine.cluster}"
    me.clients.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=public.encode())

    def ensure(key: str, file: Path) -> None:
        settings = replace(
            me.settings, aws=replace(me.settings.aws, key_name=key), ssh=SshSettings(private_key=str(file))
        )
        login = key_pairs.for_settings(settings, me.mine, home=me.home)
        key_pairs.ensure(me.clients, me.mine, login, journal=me.journal)
        assert key_pairs.delete(me.clients, me.mine, login) == []

    ensure(name, right)
    with pytest.raises(UsageError, match=f"wrong is not the private key of key pair {name}: its fingerprint is"):
        ensure(name, wrong)
    with pytest.raises(UsageError, match="there is no key pair nobodys in us-west-2"):
        ensure("nobodys", right)
    me.clients.ec2.delete_key_pair(KeyName=name)


def test_a_key_pair_named_without_its_file_is_told_before_anything_is_asked(me: Desk) -> None:
    settings = replace(me.settings, aws=replace(me.settings.aws, key_name="lab"))

    with pytest.raises(UsageError, match=r"set \[ssh\] private_key"):
        key_pairs.for_settings(settings, me.mine, home=me.home)


# -- what the config names and the region does not have


def test_an_unknown_type_gets_the_nearest_name(me: Desk) -> None:
    with pytest.raises(UsageError, match=r"c7i\.2xlrage is not an EC2 instance type.*Did you mean c7i\.2xlarge\?"):
        instance_types.find(me.clients, "c7i.2xlrage")


def test_a_type_tells_what_it_has(me: Desk) -> None:
    found = instance_types.find(me.clients, "g5.12xlarge")

    assert (found.vcpus, found.memory_gib, found.gpus, found.gpu) == (48, 192, 4, "NVIDIA A10G")
    assert "x86_64" in found.architectures
    assert "us-west-2a" in found.zones


def test_an_image_is_found_by_alias_parameter_id_and_name(me: Desk) -> None:
    image = images.find(me.clients, "ubuntu-24.04")

    assert (image.user, image.architecture) == ("ubuntu", "x86_64")
    assert image.root_device.startswith("/dev/")
    assert images.find(me.clients, image.id).id == image.id
    assert images.find(me.clients, images.ALIASES["ubuntu-24.04"].ssm_parameter.format(deb="amd64")).id == image.id
    assert images.find(me.clients, image.name.rpartition("-")[0] + "-*").id == image.id
    assert images.find(me.clients, "Ubuntu-24.04", architecture="arm64").architecture == "arm64"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ami-00000000000000001", "there is no image ami-00000000000000001 in us-west-2"),
        ("/aws/service/canonical/nope", "SSM parameter /aws/service/canonical/nope cannot be read"),
        ("ubuntu-42.04", r"there is no image 'ubuntu-42.04'.*Did you mean ubuntu-2"),
    ],
)
def test_an_unknown_image_is_named_with_what_would_work(me: Desk, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        images.find(me.clients, name)
    assert "[cluster] image" in str(caught.value)


def test_an_image_for_another_processor_is_told_before_the_launch(me: Desk) -> None:
    arm = images.find(me.clients, "ubuntu-24.04", architecture="arm64").id
    me.settings = replace(me.settings, cluster=replace(me.settings.cluster, image=arm))

    with pytest.raises(UsageError, match=r"is built for arm64, c7i\.2xlarge is x86_64"):
        me.plan(1)


def test_unknown_subnets_and_groups_are_told_with_those_that_exist(me: Desk) -> None:
    place = network.find(me.clients, me.settings.aws)
    with pytest.raises(UsageError, match=r"subnet-0000000000000dead.*InvalidSubnetID") as subnet:
        network.find(me.clients, replace(me.settings.aws, subnet_id="subnet-0000000000000dead"))
    with pytest.raises(UsageError, match="there is no security group sg-0000000000000dead") as group:
        network.find(me.clients, replace(me.settings.aws, security_group_id="sg-0000000000000dead"))
    with pytest.raises(UsageError, match="has no subnets, or is not in us-west-2"):
        network.find(me.clients, replace(me.settings.aws, vpc_id="vpc-0000000000000dead"))

    assert any(each.id in str(subnet.value) for each in place.subnets)
    assert place.vpc_id in str(group.value)


def test_a_named_subnet_tells_its_vpc_and_must_agree_with_what_else_is_named(me: Desk) -> None:
    place = network.find(me.clients, me.settings.aws)
    named = replace(me.settings.aws, subnet_id=place.subnets[1].id)
    vpc = me.clients.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = me.clients.ec2.create_security_group(GroupName=me.mine.cluster, Description="d", VpcId=vpc)["GroupId"]

    found = network.find(me.clients, named)
    with pytest.raises(UsageError, match=f"is in {place.vpc_id}, not in {vpc}"):
        network.find(me.clients, replace(named, vpc_id=vpc))
    with pytest.raises(UsageError, match=f"security group {group} belongs to {vpc}, the subnets to {place.vpc_id}"):
        network.find(me.clients, replace(named, security_group_id=group))
    me.clients.ec2.delete_security_group(GroupId=group)
    me.clients.ec2.delete_vpc(VpcId=vpc)

    assert (found.vpc_id, found.subnets) == (place.vpc_id, (place.subnets[1],))


def test_a_plan_changes_nothing_and_says_what_it_would_cost(me: Desk) -> None:
    me.calls.clear()
    plan = me.plan(2)

    assert all(call.startswith(("Describe", "Get")) for call in me.calls)
    assert sum(me.calls.values()) <= 7
    assert (plan.count, plan.instance_type, plan.vcpus, plan.memory_gib) == (2, "c7i.2xlarge", 8, 16)
    assert plan.max_cost_usd is not None
    assert f"{plan.max_cost_usd:.2f}" == "5.84"
    assert plan.subnet in plan.placement.subnets


def test_asking_whether_a_launch_is_allowed_launches_nothing(me: Desk) -> None:
    run_instances.check(me.clients, me.plan(1))

    assert me.calls["RunInstances"] == 1
    assert me.machines() == []


def test_more_machines_than_any_subnet_has_room_for_are_told_before_the_launch(me: Desk) -> None:
    with pytest.raises(UsageError, match=r"no subnet has 100000 free IP addresses"):
        me.plan(100_000)
