"""Address blocks."""

from __future__ import annotations

from localcloud.core.addresses import DOCKER_BLOCKS


def test_docker_blocks_do_not_overlap_and_leave_the_gateway_free() -> None:
    networks = [block.network for block in DOCKER_BLOCKS]
    assert len(set(networks)) == 16
    assert not any(network.overlaps(other) for network in networks for other in networks if network is not other)
    assert DOCKER_BLOCKS[1].endpoint == "172.31.16.1"
    assert DOCKER_BLOCKS[1].ssh_port == 22
