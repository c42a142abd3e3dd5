"""Security group and key pair of a cluster against the embedded cloud."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aws.ec2 import key_pairs, network, security_groups
from orchestrator.aws.ingress.access import ssh_access
from orchestrator.config import aws_value_types
from orchestrator.config.settings import SshSettings
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import CloudRefused, UsageError
from orchestrator.crypto import ssh_keys
from tests.support.aws.ec2_user import FAST_CLOCK, HOME_NETWORK, Ec2User, user

__all__ = ["user"]


def rules(user: Ec2User, group: str) -> set[tuple[str, int | None, str]]:
    found = user.clients.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    return {
        (rule["IpProtocol"], rule.get("FromPort"), source)
        for rule in found
        for source in [each["CidrIp"] for each in rule.get("IpRanges", [])]
        + [each["GroupId"] for each in rule.get("UserIdGroupPairs", [])]
    }


def test_the_group_allows_ssh_from_one_network_and_traffic_within_the_cluster(user: Ec2User) -> None:
    vpc = network.find(user.clients, user.settings.aws).vpc_id
    group = security_groups.ensure(user.clients, user.cluster_id, ssh_access(user.settings, vpc), journal=user.journal)

    assert rules(user, group) == {("tcp", user.settings.ssh.port, HOME_NETWORK), ("-1", None, group)}
    assert [(entry.kind, entry.outcome) for entry in user.journal.entries()] == [("group", {"id": group})]


def test_the_group_follows_the_address_and_keeps_rules_of_the_user(user: Ec2User) -> None:
    vpc = network.find(user.clients, user.settings.aws).vpc_id
    first = security_groups.ensure(user.clients, user.cluster_id, ssh_access(user.settings, vpc), journal=user.journal)
    user.clients.ec2.authorize_security_group_ingress(
        GroupId=first,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}],
    )
    before = user.calls["AuthorizeSecurityGroupIngress"]
    security_groups.ensure(user.clients, user.cluster_id, ssh_access(user.settings, vpc), journal=user.journal)
    unchanged = user.calls["AuthorizeSecurityGroupIngress"] - before
    auto = replace(user.settings, aws=replace(user.settings.aws, ssh_from="auto"))
    moved = ssh_access(auto, vpc, find_address=lambda _: "203.0.113.9")
    second = security_groups.ensure(user.clients, user.cluster_id, moved, journal=user.journal)

    assert (first, unchanged) == (second, 0)
    port = user.settings.ssh.port
    assert rules(user, second) == {("tcp", port, "203.0.113.9/32"), ("tcp", 80, "192.0.2.0/24"), ("-1", None, second)}


def test_open_ports_follow_the_settings_and_this_computer(user: Ec2User) -> None:
    vpc = network.find(user.clients, user.settings.aws).vpc_id

    def ensure(ports: str, address: str) -> set[tuple[str, int | None, str]]:
        opened = replace(user.settings.aws, open_ports=aws_value_types.open_ports().parse(ports) if ports else ())
        access = ssh_access(replace(user.settings, aws=opened), vpc, find_address=lambda _: address)
        return rules(user, security_groups.ensure(user.clients, user.cluster_id, access, journal=user.journal))

    closed = ensure("", "203.0.113.7")
    opened = ensure("8888 from me, https from anywhere, 8000-8010 from 10.1.0.0/16", "203.0.113.7")
    moved = ensure("8888 from me", "203.0.113.9")
    group = security_groups.own_groups(user.clients, user.cluster_id)[0]["GroupId"]

    assert opened - closed == {
        ("tcp", 8888, "203.0.113.7/32"),
        ("tcp", 443, "0.0.0.0/0"),
        ("tcp", 8000, "10.1.0.0/16"),
    }
    assert moved - closed == {("tcp", 8888, "203.0.113.9/32")}
    assert ("-1", None, group) in moved
    assert ensure("", "203.0.113.9") == closed


def test_a_group_from_the_settings_is_never_changed(user: Ec2User) -> None:
    vpc = network.find(user.clients, user.settings.aws).vpc_id
    theirs = user.clients.ec2.create_security_group(GroupName=user.cluster_id.cluster, Description="d", VpcId=vpc)[
        "GroupId"
    ]
    named = replace(user.settings, aws=replace(user.settings.aws, security_group_id=theirs))
    access = ssh_access(named, vpc, find_address=lambda _: pytest.fail("the address is not needed"))
    used = security_groups.ensure(user.clients, user.cluster_id, access, journal=user.journal)
    deleted = security_groups.delete(user.clients, user.cluster_id)
    left = rules(user, theirs)
    user.clients.ec2.delete_security_group(GroupId=theirs)

    assert (used, deleted, left) == (theirs, [], set())


def test_the_rules_of_a_users_group_are_checked_and_what_is_printed_allows_this_computer(user: Ec2User) -> None:
    """Without a rule for SSH the launch is refused; with one for others only it is warned of."""
    ec2, port = user.clients.ec2, user.settings.ssh.port
    vpc = network.find(user.clients, user.settings.aws).vpc_id
    group = ec2.create_security_group(GroupName="theirs", Description="d", VpcId=vpc)["GroupId"]
    settings = replace(user.settings, aws=replace(user.settings.aws, security_group_id=group))

    def check(address: str = "203.0.113.9") -> str:
        return security_groups.check_user_group(user.clients, settings, find_address=lambda _: address)

    def allow(**rule: Any) -> None:
        ec2.authorize_security_group_ingress(GroupId=group, **rule)

    try:
        allow(IpProtocol="tcp", FromPort=port + 1, ToPort=port + 9, CidrIp="0.0.0.0/0")
        with pytest.raises(UsageError, match=rf"{group} has no rule for SSH \(TCP port {port}\)") as refused:
            check()
        allow(IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp="198.51.100.0/24")
        warning = check()
        typed = shlex.split(warning[warning.index("aws ec2") :])
        options = dict(zip(typed[3:13:2], typed[4:13:2], strict=True))
        allow(
            IpProtocol=options["--protocol"],
            FromPort=int(options["--port"]),
            ToPort=int(options["--port"]),
            CidrIp=options["--cidr"],
        )
        allowed = check()
    finally:
        ec2.delete_security_group(GroupId=group)

    assert "--cidr 203.0.113.9/32" in str(refused.value.fix)
    assert "does not allow SSH from this computer (203.0.113.9)" in warning
    assert (options["--group-id"], options["--region"]) == (group, user.clients.region)
    assert (allowed, check()) == ("", "")


def test_a_group_of_another_owner_is_neither_used_nor_deleted(user: Ec2User) -> None:
    vpc = network.find(user.clients, user.settings.aws).vpc_id
    theirs = user.clients.ec2.create_security_group(
        GroupName=user.cluster_id.resource_name, Description="d", VpcId=vpc
    )["GroupId"]

    with pytest.raises(CloudRefused, match="not tagged as this cluster's") as caught:
        security_groups.ensure(user.clients, user.cluster_id, ssh_access(user.settings, vpc), journal=user.journal)
    assert theirs in str(caught.value)
    assert security_groups.delete(user.clients, user.cluster_id) == []
    user.clients.ec2.delete_security_group(GroupId=theirs)


@pytest.mark.slow
def test_deleting_a_group_in_use_fails_at_the_deadline(user: Ec2User) -> None:
    user.wait_running(user.launch(1))

    with pytest.raises(CloudRefused, match="DependencyViolation"):
        security_groups.delete(user.clients, user.cluster_id, deadline_s=0.3)


def test_a_missing_private_key_is_an_error_while_instances_exist(user: Ec2User) -> None:
    user.create_resources(user.plan(1))
    user.key_pair.key_file.unlink()

    with pytest.raises(UsageError, match=r"the private key of ml-0, ml-1 is not on this computer"):
        key_pairs.ensure(
            user.clients, user.cluster_id, user.key_pair, journal=user.journal, existing_names=["ml-0", "ml-1"]
        )


def test_a_missing_private_key_is_replaced_without_instances_once_no_launch_can_be_in_progress(user: Ec2User) -> None:
    user.create_resources(user.plan(1))
    user.key_pair.key_file.unlink()
    with pytest.raises(UsageError, match="a launch may be in progress there"):
        key_pairs.ensure(user.clients, user.cluster_id, user.key_pair, journal=user.journal)
    later = user.clients_at(replace(FAST_CLOCK, now=lambda: REAL_CLOCK.now() + timedelta(minutes=10)))
    key_pairs.ensure(later, user.cluster_id, user.key_pair, journal=user.journal)
    pairs = user.clients.ec2.describe_key_pairs(KeyNames=[user.key_pair.key_name], IncludePublicKey=True)["KeyPairs"]

    assert pairs[0]["PublicKey"].split()[:2] == ssh_keys.read_public_key(user.key_pair.key_file).split()


def test_another_private_key_is_an_error_while_instances_exist(user: Ec2User) -> None:
    user.create_resources(user.plan(1))
    user.key_pair.key_file.unlink()
    ssh_keys.generate_login_key(user.key_pair.key_file)

    with pytest.raises(UsageError, match="ml-0 were launched with another key"):
        key_pairs.ensure(user.clients, user.cluster_id, user.key_pair, journal=user.journal, existing_names=["ml-0"])


def test_a_key_from_the_settings_must_match_the_key_pair(user: Ec2User, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    public = ssh_keys.generate_login_key(right)
    ssh_keys.generate_login_key(wrong)
    name = f"lab-{user.cluster_id.cluster}"
    user.clients.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=public.encode())

    def ensure(key: str, file: Path) -> None:
        settings = replace(
            user.settings, aws=replace(user.settings.aws, key_name=key), ssh=SshSettings(private_key=str(file))
        )
        login = key_pairs.for_settings(settings, user.cluster_id, home=user.home)
        key_pairs.ensure(user.clients, user.cluster_id, login, journal=user.journal)
        assert key_pairs.delete(user.clients, user.cluster_id, login) == []

    ensure(name, right)
    with pytest.raises(UsageError, match=f"wrong is not the private key of key pair {name}: its fingerprint is"):
        ensure(name, wrong)
    with pytest.raises(UsageError, match="there is no key pair nobodys in us-west-2"):
        ensure("nobodys", right)
    user.clients.ec2.delete_key_pair(KeyName=name)


def test_a_key_pair_without_its_file_is_an_error_before_any_call(user: Ec2User) -> None:
    settings = replace(user.settings, aws=replace(user.settings.aws, key_name="lab"))

    with pytest.raises(UsageError, match=r"set \[ssh\] private_key"):
        key_pairs.for_settings(settings, user.cluster_id, home=user.home)
