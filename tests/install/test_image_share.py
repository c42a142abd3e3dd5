"""Turns of the hosts that lack an image, and offers of one that lies."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.install.fan_out import FanOutOptions, Tree
from orchestrator.install.image_share import MAX_BYTES, NAME, ImageShare
from orchestrator.install.parcel import CHUNK_BYTES, Parcel
from orchestrator.install.requests import HostRequests

FIRST, SECOND = (
    replace(Host("", "192.0.2.1", "10.0.0.1", 22, "ubuntu", Path("key"), "", "i-0"), name=name)
    for name in ("ml-0", "ml-1")
)
DIGEST = "0f" * 32


class Lab:
    """A share, and what the hosts of its install may request."""

    def __init__(self, folder: Path) -> None:
        self.parcels: dict[str, Parcel] = {}
        self.trees: dict[str, Tree] = {}
        tree = Tree(NAME, 3, FanOutOptions(), REAL_CLOCK, lambda event: None)
        self.share = ImageShare(tree, self.parcels, self.trees, folder, 60)

    def requests(self, host: Host) -> HostRequests:
        """Return the requests of a host."""
        return HostRequests(host, self.parcels, self.trees, None, REAL_CLOCK, lambda event: None, self.share)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A share whose first host builds."""
    lab = Lab(tmp_path)
    assert list(lab.share.source(FIRST)) == [b"own\n"]
    return lab


@pytest.mark.parametrize(
    "line",
    [
        "@@offer",
        "@@offer -1 " + DIGEST,
        "@@offer 100 short",
        f"@@offer {MAX_BYTES + 1} {DIGEST}",
        f"@@offer {'9' * 5000} {DIGEST}",
        f"@@offer {CHUNK_BYTES + 1} {DIGEST}",
        "@@digests",
        "@@digests " + DIGEST[:-1],
        "@@digests é" + DIGEST,
        "@@serving 5000",
        "@@serving x",
    ],
)
def test_an_offer_in_another_format_is_an_error(lab: Lab, line: str) -> None:
    """Nothing is offered to the others."""
    with pytest.raises(HostError, match="ml-0: it offers an image in an unknown format"):
        lab.requests(FIRST).respond(line)
    assert not lab.parcels


def test_a_host_without_a_turn_offers_nothing(lab: Lab) -> None:
    with pytest.raises(HostError, match="out of turn"):
        lab.requests(SECOND).respond(f"@@offer 100 {DIGEST}")


def test_a_host_waits_for_the_offer_and_gets_its_listing(lab: Lab) -> None:
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.extend(lab.share.source(SECOND)), daemon=True)
    waiting.start()
    builder, other = lab.requests(FIRST), lab.requests(SECOND)
    builder.respond("@@digests " + DIGEST * 2)
    membership = b"".join(builder.respond(f"@@offer {CHUNK_BYTES + 1} {DIGEST}") or ())
    builder.respond("@@serving 5000")
    waiting.join(30)

    assert membership.startswith(b"pieces ")
    assert answers == [b"peer\n"]
    assert other.respond("@@want image") is not None
    assert b"".join(other.respond("@@missing image AQ==") or ()).endswith(bytes.fromhex(DIGEST * 2))
    assert next(iter(other.respond("@@lacks image 0 - - Aw==") or ())).startswith(b"peer ml-0 10.0.0.1 5000 ")
    # This computer does not have it.
    assert list(other.respond("@@lacks image 0 ml-0 silent Aw==") or ()) == [b"none\n"]


def test_a_builder_that_leaves_without_an_offer_frees_the_others(lab: Lab) -> None:
    lab.share.leave(SECOND)
    lab.share.leave(FIRST)

    assert list(lab.share.source(SECOND)) == [b"own\n"]
