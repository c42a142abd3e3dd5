"""Addresses of a cloud: one /20 of loopback addresses each.

Linux answers on every address of 127.0.0.0/8, so each cloud takes the first free block of 4096 addresses in
127.77.0.0/16. Its endpoint listens on the first address of the block, which also claims the block: a second cloud
cannot bind it. The default subnets are /24s of the block: an instance's private address is one of it. Public addresses
come from the block of the same number in 127.78.0.0/16. The host of an instance listens on both.

A cloud with docker hosts has two blocks of 172.31.0.0/16 instead, which together are a docker network: one for private
addresses, the first of which is the gateway, where the endpoint listens, and the next one for public addresses.

VMs have a network of their own, 172.30.0.0/16, which this computer is not part of. Their public addresses are on
loopback, and so is the endpoint; connections of a VM to it come from the loopback address with its place in the block.

Where no host listens, in a simulation, a block can be as large as AWS's own: default VPCs of a /16, subnets of a /20.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from localcloud.core.errors import LocalCloudError

ENDPOINT_PORT = 4566
METADATA_ADDRESS = "169.254.169.254"
"""Address of the instance metadata service on EC2 and on docker hosts."""
SSH_PORT = 22022
BLOCKS = 16
HOME_REGION = "us-west-2"
ZONES_PER_REGION = 3

_LOOPBACK = ipaddress.IPv4Network("127.77.0.0/16")
_LOOPBACK_PUBLIC = ipaddress.IPv4Network("127.78.0.0/16")
_LOOPBACK_JOBS = ipaddress.IPv4Network("127.66.0.0/16")
_DOCKER = ipaddress.IPv4Network("172.31.0.0/16")
_VM = ipaddress.IPv4Network("172.30.0.0/16")
_SIMULATED = ipaddress.IPv4Network("10.0.0.0/8")
_VPC_BITS = 2
_LONGEST_SUBNET_PREFIX = 24


@dataclass(frozen=True)
class AddressBlock:
    """Address block of one cloud.

    :param index: 0 to 15.
    :param space: the address range that is divided into blocks.
    :param public_space: likewise, for public addresses.
    :param ssh_port: port of the hosts' SSH servers.
    :param prefix: of the network of a block.
    :param local_space: range of the endpoint's address, if ``space`` is not reachable from this computer.
    """

    index: int
    space: ipaddress.IPv4Network = _LOOPBACK
    public_space: ipaddress.IPv4Network = _LOOPBACK_PUBLIC
    ssh_port: int = SSH_PORT
    local_space: ipaddress.IPv4Network | None = None
    prefix: int = 20

    @property
    def network(self) -> ipaddress.IPv4Network:
        """All addresses of the cloud except for the public ones."""
        return self._block_of(self.space, self.index)

    @property
    def public_network(self) -> ipaddress.IPv4Network:
        """Public addresses of the cloud's instances."""
        # In the same range, they are the block that follows the private one.
        return self._block_of(self.public_space, self.index + (self.public_space == self.space))

    @property
    def endpoint(self) -> str:
        """Address of the API; EC2 reserves the first addresses of a subnet, too."""
        return self.local_address(str(self.network[1]))

    @property
    def url(self) -> str:
        """Value of AWS_ENDPOINT_URL."""
        return f"http://{self.endpoint}:{ENDPOINT_PORT}"

    def vpc_network(self, index: int) -> ipaddress.IPv4Network | None:
        """Return the network of the default VPC of the region with this index; None when the block is used up.

        :param index: number of the region in the order of first use.
        """
        vpcs = list(self.network.subnets(_VPC_BITS))
        return vpcs[index] if index < len(vpcs) else None

    @staticmethod
    def subnets(vpc: ipaddress.IPv4Network) -> Iterator[ipaddress.IPv4Network]:
        """Return the default subnets of a VPC: sixteenths of it, as AWS's are, but no smaller than a /24."""
        return vpc.subnets(new_prefix=min(vpc.prefixlen + 4, _LONGEST_SUBNET_PREFIX))

    def local_address(self, address: str) -> str:
        """Return the address of this computer that stands for a private address; any other is returned unchanged."""
        if self.local_space is None or not self.contains(address):
            return address
        offset = int(ipaddress.IPv4Address(address)) - int(self.network.network_address)
        return str(self._block_of(self.local_space, self.index)[offset])

    def contains(self, address: str) -> bool:
        """Return whether a host of this cloud may listen on ``address``."""
        return ipaddress.IPv4Address(address) in self.network

    def _block_of(self, space: ipaddress.IPv4Network, index: int) -> ipaddress.IPv4Network:
        return list(space.subnets(new_prefix=self.prefix))[index]


@dataclass
class PublicAddresses:
    """Public addresses of one cloud, handed out in turn: one that was released comes back last."""

    block: AddressBlock
    _assigned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._in_turn = itertools.cycle(map(str, self.block.public_network.hosts()))

    def assign(self) -> str:
        """Return a public address for an interface.

        :raises LocalCloudError: every address is assigned.
        """
        for address in itertools.islice(self._in_turn, self.block.public_network.num_addresses):
            if address not in self._assigned:
                self._assigned.add(address)
                return address
        raise LocalCloudError(f"every public address in {self.block.public_network} is assigned")

    def release(self, address: str) -> None:
        """Take an address back."""
        self._assigned.discard(address)


@dataclass
class JobAddresses:
    """Loopback addresses of the containers of jobs, handed out in turn: equal ports of different jobs do not collide.

    :param index: index of the cloud's block; a cloud has a /20.
    """

    index: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        network = list(_LOOPBACK_JOBS.subnets(new_prefix=20))[self.index]
        self._in_turn = itertools.cycle(map(str, network.hosts()))

    def take(self, count: int) -> list[str]:
        """Return the next addresses."""
        with self._lock:
            return list(itertools.islice(self._in_turn, count))


def loopback_blocks() -> list[AddressBlock]:
    """Return every loopback block, in the order in which they are tried."""
    return [AddressBlock(index) for index in range(BLOCKS)]


def claim_loopback_block(blocks: Sequence[AddressBlock] = ()) -> tuple[AddressBlock, socket.socket]:
    """Return the first free block and a socket that claims it by listening on its endpoint, which is on loopback.

    :param blocks: those to choose from; loopback blocks by default.
    :raises LocalCloudError: every block is taken.
    """
    candidates = blocks or loopback_blocks()
    for block in candidates:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # Connections of a cloud that has just ended may still be in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((block.endpoint, ENDPOINT_PORT))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return block, listener
    raise LocalCloudError(
        f"port {ENDPOINT_PORT} is taken on every address from {candidates[0].endpoint} to {candidates[-1].endpoint}: "
        f"does another program listen on 0.0.0.0:{ENDPOINT_PORT}?"
    )


DOCKER_BLOCKS = tuple(AddressBlock(index, _DOCKER, _DOCKER, ssh_port=22) for index in range(0, BLOCKS, 2))
"""Blocks of clouds with docker hosts; the ones between are their public addresses."""
VM_BLOCKS = tuple(AddressBlock(index, _VM, local_space=_LOOPBACK) for index in range(BLOCKS))
"""Blocks of clouds with VMs."""
LARGE_BLOCK = AddressBlock(0, _SIMULATED, _SIMULATED, prefix=14)
"""Block of a simulated cloud with as many addresses as AWS has."""
