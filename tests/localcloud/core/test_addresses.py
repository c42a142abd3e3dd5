"""Address blocks."""

from __future__ import annotations

from localcloud.core.addresses import DOCKER_BLOCKS, LARGE_BLOCK, VM_BLOCKS


def test_docker_blocks_do_not_overlap_and_leave_the_gateway_free() -> None:
    networks = [network for block in DOCKER_BLOCKS for network in (block.network, block.public_network)]
    assert len(set(networks)) == 16
    assert not any(network.overlaps(other) for network in networks for other in networks if network is not other)
    # One docker network has both.
    assert DOCKER_BLOCKS[1].network.supernet() == DOCKER_BLOCKS[1].public_network.supernet()
    assert DOCKER_BLOCKS[1].endpoint == "172.31.32.1"
    assert DOCKER_BLOCKS[1].ssh_port == 22


def test_a_vms_private_address_has_a_stand_in_on_loopback() -> None:
    block = VM_BLOCKS[1]

    assert (block.endpoint, str(block.network), str(block.public_network)) == (
        "127.77.16.1",
        "172.30.16.0/20",
        "127.78.16.0/20",
    )
    assert block.local_address("172.30.17.4") == "127.77.17.4"
    # A public address is this computer's own, and docker hosts are reachable at their private ones.
    assert block.local_address("127.78.16.9") == "127.78.16.9"
    assert DOCKER_BLOCKS[1].local_address("172.31.33.4") == "172.31.33.4"


def test_a_simulated_cloud_can_have_the_default_vpc_of_aws() -> None:
    block = LARGE_BLOCK
    vpc = block.vpc_network(0)

    assert vpc is not None
    assert (vpc.prefixlen, next(block.subnets(vpc)).prefixlen) == (16, 20)
    assert not block.network.overlaps(block.public_network)
    # Where hosts listen, a block is a /20.
    small = VM_BLOCKS[1].vpc_network(0)
    assert small is not None
    assert [str(subnet) for subnet in block.subnets(small)][:2] == ["172.30.16.0/24", "172.30.17.0/24"]
