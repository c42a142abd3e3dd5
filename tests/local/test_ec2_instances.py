"""Instances against the embedded cloud: launch, state changes and termination."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2 import key_pairs, security_groups, state_changes, waiters
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.aws.launch import run_instances
from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostsFailed
from tests.support.aws.ec2_user import FAST_CLOCK, Ec2User, Pair, create_user, running_pair, user

__all__ = ["running_pair", "user"]


def tags(described: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}


def test_one_call_launches_all_instances_with_all_tags(running_pair: Pair) -> None:
    user, instances = running_pair

    assert user.calls["RunInstances"] == 1
    assert user.calls["CreateTags"] == 0
    assert sorted(instance.name for instance in instances) == ["two-0", "two-1"]
    assert {
        (instance.cluster, instance.owner, instance.type, instance.state, instance.user) for instance in instances
    } == {("two", user.identity.owner, "c7i.2xlarge", "running", "ubuntu")}
    assert len({instance.launch_id for instance in instances}) == 1
    assert all(instance.public_address and instance.private_address and instance.zone for instance in instances)


def test_tags_hold_expiry_and_host_key(
    running_pair: Pair,
) -> None:
    for instance in running_pair[1]:
        assert instance.expires_at is not None
        assert timedelta(hours=7.9) < instance.expires_at - instance.launched_at < timedelta(hours=8.1)
        assert instance.max_hours == 8
        assert instance.host_key.startswith("ssh-ed25519 AAAA")
        assert instance.disk == ec2_instances.Disk("gp3", 75)
        assert instance.key_name == running_pair[0].key_pair.key_name


def test_metadata_needs_tokens_and_shutdown_terminates(
    running_pair: Pair,
) -> None:
    user, (first, _) = running_pair
    options = user.describe_raw(first.id)["MetadataOptions"]
    behaviour = user.clients.ec2.describe_instance_attribute(
        InstanceId=first.id, Attribute="instanceInitiatedShutdownBehavior"
    )

    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def test_disks_are_encrypted_tagged_and_deleted_with_their_instance(running_pair: Pair) -> None:
    user, instances = running_pair
    devices = [user.describe_raw(instance.id)["BlockDeviceMappings"][0]["Ebs"] for instance in instances]
    volumes = user.clients.ec2.describe_volumes(VolumeIds=[instance["VolumeId"] for instance in devices])["Volumes"]

    assert [instance["DeleteOnTermination"] for instance in devices] == [True, True]
    assert {(instance["Encrypted"], instance["VolumeType"], instance["Size"]) for instance in volumes} == {
        (True, "gp3", 75)
    }
    assert {tags(instance)["stratus:cluster"] for instance in volumes} == {"two"}


def test_another_computer_sees_the_same_cluster(running_pair: Pair, cloud: dict[str, str], tmp_path: Path) -> None:
    other = create_user(cloud, tmp_path, "two")

    assert [instance.name for instance in other.instances()] == ["two-0", "two-1"]
    assert {instance.id for instance in other.instances()} == {instance.id for instance in running_pair[1]}


def test_listing_a_cluster_takes_two_calls(running_pair: Pair, cloud: dict[str, str], tmp_path: Path) -> None:
    other = create_user(cloud, tmp_path, "two")
    other.instances()

    assert other.calls == {"GetCallerIdentity": 1, "DescribeInstances": 1}
    assert running_pair[1]


def test_a_lost_answer_does_not_launch_a_second_set(user: Ec2User) -> None:
    lost: list[str] = []

    def lose_first(request: Any, **_: Any) -> None:
        if not lost:
            lost.append(request.url)
            URLLib3Session().send(request)
            raise ReadTimeoutError(endpoint_url=request.url)

    plan = user.plan(2)
    key = user.create_resources(plan)
    user.clients.ec2_once.meta.events.register("before-send.ec2.RunInstances", lose_first)
    instances = run_instances.launch(user.clients, plan, resources=key, journal=user.journal)

    assert len(lost) == 1
    assert {instance.id for instance in user.wait_running(instances)} == {instance.id for instance in user.instances()}
    assert len(user.instances()) == 2
    assert user.journal.open_entries() == []


@pytest.mark.slow
def test_later_instances_get_the_next_names_and_the_same_zone(user: Ec2User) -> None:
    first = user.wait_running(user.launch(2))
    state_changes.terminate(
        user.clients,
        [instance for instance in first if instance.name.endswith("-0")],
        ownership=Ownership(user.cluster_id),
    )
    plan = user.plan(1)
    more = run_instances.launch(user.clients, plan, resources=user.create_resources(plan), journal=user.journal)
    left = user.wait_running(more)

    assert plan.subnet.zone == first[0].zone
    assert left[0].name.rpartition("-")[2] in ("0", "2")  # the ended one keeps its name until it is gone
    names = [instance.name for instance in user.instances() if instance.is_alive]
    assert len(names) == len(set(names)) == 2


@pytest.mark.slow
def test_started_instances_get_a_new_expiry(user: Ec2User) -> None:
    (instance,) = user.wait_running(user.launch(1))
    stopped = state_changes.stop(user.clients, [instance], ownership=Ownership(user.cluster_id))
    (asleep,) = waiters.wait_for_state(user.clients, [instance.id], state="stopped", deadline_s=30)
    later = Clock(now=lambda: FAST_CLOCK.now() + timedelta(hours=1))
    started = state_changes.start(user.clients_at(later), [asleep], ownership=Ownership(user.cluster_id))
    (awake,) = user.wait_running([instance])

    assert stopped[instance.id].is_ok
    assert started[instance.id].is_ok
    assert (awake.id, awake.name, awake.state) == (instance.id, instance.name, "running")
    assert instance.expires_at is not None
    assert awake.expires_at is not None
    assert awake.expires_at - instance.expires_at > timedelta(minutes=59)


def test_terminating_leaves_no_instance_group_or_key_pair(user: Ec2User) -> None:
    machines = user.wait_running(user.launch(2))
    outcomes = state_changes.terminate(user.clients, machines, ownership=Ownership(user.cluster_id))
    gone = list(waiters.wait_terminated(user.clients, machines, deadline_s=30))
    deleted = security_groups.delete(user.clients, user.cluster_id, deadline_s=30)
    pairs = key_pairs.delete(user.clients, user.cluster_id, user.key_pair)

    assert all(instance.is_ok for instance in outcomes.values())
    assert {instance.id for instance in gone} == {instance.id for instance in machines}
    assert user.instances() == []
    assert (len(deleted), pairs) == (1, [user.key_pair.key_name])
    assert user.clients.ec2.describe_security_groups(Filters=user.cluster_id.filters)["SecurityGroups"] == []
    assert user.clients.ec2.describe_key_pairs(Filters=user.cluster_id.filters)["KeyPairs"] == []
    assert not user.key_pair.key_file.exists()
    assert security_groups.delete(user.clients, user.cluster_id) == []
    assert key_pairs.delete(user.clients, user.cluster_id, user.key_pair) == []


def test_instances_of_others_are_neither_listed_nor_terminated(user: Ec2User) -> None:
    (ours,) = user.wait_running(user.launch(1))
    stranger = replace(user.cluster_id, owner="eve")
    facts = user.describe_raw(ours.id)
    order: Any = {"ImageId": facts["ImageId"], "InstanceType": "c7i.2xlarge", "MinCount": 1, "MaxCount": 1}
    theirs = user.clients.ec2.run_instances(
        **order, TagSpecifications=[{"ResourceType": "instance", "Tags": stranger.tags}]
    )["Instances"][0]["InstanceId"]
    bare = user.clients.ec2.run_instances(**order)["Instances"][0]["InstanceId"]

    everyone = ec2_instances.describe_all(user.clients, cluster=user.cluster_id.cluster)
    outcomes = state_changes.terminate(user.clients, everyone, ownership=Ownership(user.cluster_id))
    states = {
        instance.id: instance.state for instance in ec2_instances.describe_ids(user.clients, [ours.id, theirs, bare])
    }
    user.clients.ec2.terminate_instances(InstanceIds=[theirs, bare])

    assert [instance.id for instance in user.instances()] in ([ours.id], [])
    assert {instance.id for instance in everyone} == {ours.id, theirs}
    assert (outcomes[ours.id].is_ok, outcomes[theirs].is_ok) == (True, False)
    assert states[theirs] in ("pending", "running")
    assert states[bare] in ("pending", "running")


def test_an_instance_that_terminates_during_a_wait_is_reported_with_its_reason(user: Ec2User) -> None:
    (instance,) = user.launch(1)
    user.clients.ec2.terminate_instances(InstanceIds=[instance.id])

    with pytest.raises(HostsFailed) as caught:
        user.wait_running([instance])
    assert instance.name in str(caught.value)
    assert "instead" in str(caught.value)
