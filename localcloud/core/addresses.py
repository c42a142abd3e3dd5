"""Where things listen: one /20 of loopback addresses per cloud.

Linux answers on every address of 127.0.0.0/8, so each cloud takes the first free block of 4096 addresses
below 127.77.0.0/16. Its endpoint listens on the first address of the block (which is also what claims the block:
a second cloud cannot bind it), its default subnets are /24s of the block, and a machine's private *and* public
address is an address on which that machine really listens.

A cloud with docker hosts has a block of 172.31.0.0/16 in their place: its endpoint listens on the gateway of a docker
network, and its machines have the other addresses to themselves.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

ENDPOINT_PORT = 4566
SSH_PORT = 22022
BLOCKS = 16
HOME_REGION = "us-west-2"
ZONES_PER_REGION = 3

_LOOPBACK = ipaddress.IPv4Network("127.77.0.0/16")
_DOCKER = ipaddress.IPv4Network("172.31.0.0/16")


@dataclass(frozen=True)
class AddressBlock:
    """The addresses of one cloud.

    :param index: 0 to 15.
    :param space: the addresses of which it is a block.
    :param ssh_port: on which machines are reached by SSH.
    """

    index: int
    space: ipaddress.IPv4Network = _LOOPBACK
    ssh_port: int = SSH_PORT

    @property
    def network(self) -> ipaddress.IPv4Network:
        """All addresses of the cloud."""
        return list(self.space.subnets(new_prefix=20))[self.index]

    @property
    def endpoint(self) -> str:
        """The address on which the API listens; EC2 keeps a subnet's first addresses for itself too."""
        return str(self.network[1])

    @property
    def url(self) -> str:
        """What AWS_ENDPOINT_URL says."""
        return f"http://{self.endpoint}:{ENDPOINT_PORT}"

    def vpc_network(self, index: int) -> ipaddress.IPv4Network | None:
        """The default VPC of the region that came up as number ``order``; None when the block is used up."""
        vpcs = list(self.network.subnets(new_prefix=22))
        return vpcs[index] if index < len(vpcs) else None

    def contains(self, address: str) -> bool:
        """Whether a machine of this cloud may listen on ``address``."""
        return ipaddress.IPv4Address(address) in self.network


def loopback_blocks() -> list[AddressBlock]:
    """Every block, in the order in which they are tried."""
    return [AddressBlock(index) for index in range(BLOCKS)]


DOCKER_BLOCKS = tuple(AddressBlock(index, _DOCKER, ssh_port=22) for index in range(BLOCKS))
"""Those of clouds with docker hosts."""
