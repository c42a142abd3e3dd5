"""Ingress: the addresses at which an instance's SSH port answers, by the rules of its security groups.

On loopback every packet comes from this computer, so that a rule cannot be applied to each sender. Instead, a port as a
whole answers or is silent, on all kinds of hosts: at the public address if the user's computer is admitted; at the
private address if another instance is, or the user's computer, which may be connected to the VPC. Other ports are not
filtered, nor are packets between VMs of the kind ``vm``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import Lifecycle
from localcloud.hosts.interface import HostControl

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupRule


@dataclass(frozen=True)
class Ingress:
    """Applies the rules of security groups to hosts that are running.

    :param port: of the hosts' SSH servers.
    """

    lifecycle: Lifecycle
    hosts: HostControl
    environment: CloudEnvironment
    port: int

    def update(self) -> None:
        """Apply the rules as they are now; called with the cloud's lock held.

        Contract: rules-apply-to-running-instances.
        """
        for tracked in self.lifecycle.instances.values():
            if tracked.has_host and tracked.instance.state == "running":
                addresses = open_addresses(tracked.instance, self.port, self.environment.client.address)
                self.hosts.open_at(tracked.instance.id, addresses)


def open_addresses(instance: Instance, port: int, client_address: str) -> tuple[str, ...]:
    """Return the addresses of an instance at which connections to ``port`` are answered.

    Contract: a-group-without-a-rule-is-silent, a-group-as-source-means-private-addresses.

    :param client_address: of the user's computer, as EC2 sees it.
    """
    rules = [rule for group in _groups(instance) for rule in group.ingress_rules if _covers(rule, port)]
    networks = list(_networks(rules))
    client = ipaddress.ip_address(client_address)
    is_open_outside = any(client in network for network in networks)
    vpc = ipaddress.ip_network(instance.ec2_backend.get_vpc(instance.vpc_id).cidr_block)
    is_open_inside = any(rule.source_group for rule in rules) or any(network.overlaps(vpc) for network in networks)
    inside = [instance.private_ip] if is_open_inside or is_open_outside else []
    outside = [instance.public_ip] if is_open_outside else []
    return tuple(str(address) for address in (*inside, *outside) if address)


def _groups(instance: Instance) -> Iterable[SecurityGroup]:
    groups = [group for interface in instance.nics.values() for group in interface.group_set]
    return {group.id: group for group in [*groups, *instance.security_groups]}.values()


def _covers(rule: SecurityGroupRule, port: int) -> bool:
    if rule.ip_protocol == "-1":
        return True
    return rule.ip_protocol == "tcp" and int(rule.from_port or 0) <= port <= int(rule.to_port or 0)


def _networks(rules: Iterable[SecurityGroupRule]) -> Iterator[ipaddress.IPv4Network]:
    yield from (ipaddress.IPv4Network(rule.cidr_ipv4, strict=False) for rule in rules if rule.cidr_ipv4)
