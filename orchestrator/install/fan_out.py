"""Tree through which hosts pass an upload on to each other, so that this computer sends it once.

The first host that asks gets the contents from this computer; each later one from a host that is served already, which
passes on each piece as it arrives: one from each if there are few, else two. No host waits for another to join. A host
that loses its source asks again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.crypto.tls import MemberCertificates

CHAIN_HOSTS = 8
"""Up to so many hosts form a chain, in which each gets data at the full bandwidth of the one before; more form a binary
tree, at half of it: in a chain, the last one would depend on all others."""

MAX_REQUESTS = 20
"""Sources that a host may ask for during one upload."""

SLOW_FACTOR, SLOW_AFTER_S, SLOW_BYTES = 4.0, 5.0, 16_000_000
"""A host is slow if another one gets data at so many times its rate, for so long and for so many bytes."""

_REASONS = {
    "silent": "it does not answer",
    "closed": "the connection ended",
    "unreachable": "no connection",
    "untrusted": "it does not have its certificate",
    "wrong": "its data has a wrong checksum",
    "incomplete": "it does not have all of the data",
    "moved": "it is slow",
}
_CLIENT = ""


@dataclass(frozen=True)
class FanOutOptions:
    """When hosts pass uploads on.

    :param min_bytes: that a host lacks; less is sent to each by this computer: a tree costs round trips.
    :param min_hosts: of an install; fewer get all from this computer.
    :param link_bytes_per_s: limit of each host's bandwidth, for measurements; 0 for none.
    """

    min_bytes: int = 8_000_000
    min_hosts: int = 3
    link_bytes_per_s: float = 0


@dataclass
class Node:
    """A host in the tree.

    :param port: at which it serves others; 0 if it cannot.
    :param source: name of the host that it gets data from; empty for this computer, None before the first request.
    :param avoided: names of hosts that failed it.
    :param accusers: names of hosts that got wrong data from it.
    :param is_suspect: it failed another host, and has not reported since.
    :param is_gone: its install has failed.
    """

    host: Host
    joined_at: float
    port: int = 0
    source: str | None = None
    done_bytes: int = 0
    rate: float = 0.0
    requests: int = 0
    avoided: set[str] = field(default_factory=set)
    accusers: set[str] = field(default_factory=set)
    is_suspect: bool = False
    is_gone: bool = False
    is_complete: bool = False
    is_slow: bool = False
    is_moving: bool = False

    @property
    def is_usable(self) -> bool:
        """True if others may get data from it; one accuser alone may be the liar itself."""
        return not (self.is_suspect or self.is_gone or len(self.accusers) > 1)


class Tree:
    """Sources of one upload's hosts; safe to use from many threads.

    :param name: of the upload.
    :param host_count: hosts of the install.
    """

    def __init__(
        self, name: str, host_count: int, options: FanOutOptions, clock: Clock, on_event: EventHandler
    ) -> None:
        self.name, self.host_count, self.options = name, host_count, options
        self._clock, self._on_event = clock, on_event
        self._nodes: dict[str, Node] = {}
        self._certificates: MemberCertificates | None = None
        self._lock = threading.Lock()
        # Between hosts: unknown until one got something, or two could not connect.
        self._has_worked = self._is_closed = False
        self._unreachable = 0

    def membership(self, host: Host) -> bytes:
        """Return what a host needs to exchange data with others, as pieces.py reads it; empty if it does not."""
        if self.host_count < self.options.min_hosts:
            return b""
        with self._lock:
            self._certificates = self._certificates or MemberCertificates(self._clock.now())
            tls = self._certificates.member(certificate_name(host))
        content = {"ca": tls.ca, "cert": tls.cert, "key": tls.key, "address": host.private_address}
        return json.dumps(content | {"limit": str(self.options.link_bytes_per_s)}).encode()

    def seed(self, host: Host, port: int) -> None:
        """Add a host that has everything from the beginning."""
        with self._lock:
            self._nodes[host.name] = Node(host, self._clock.monotonic(), port, _CLIENT, is_complete=True)

    def source(self, host: Host, port: int, lost: str, why: str) -> Host | None:
        """Return where a host gets its data from: another host, at the port of `port_of`, or None: this computer.

        :param port: at which it serves others, or 0.
        :param lost: name of its source until now, if it has to leave that.
        :param why: reason of that, one word.
        :raises HostError: it has asked too often.
        """
        with self._lock:
            node = self._nodes.setdefault(host.name, Node(host, self._clock.monotonic()))
            node.port, node.is_moving = port, False
            node.requests += 1
            if node.requests > MAX_REQUESTS:
                raise HostError(f"it left {MAX_REQUESTS} sources of {self.name}", where=host.name)
            warning = self._leave(node, self._nodes[lost], why) if lost in self._nodes else ""
            source = self._choose(node)
            node.source = source.host.name if source else _CLIENT
        if warning:
            self._on_event(Event("", "fan-out", "warning", text=warning))
        return source.host if source else None

    def port_of(self, host: Host) -> int:
        """Return the port at which a host serves others."""
        return self._nodes[host.name].port

    def report(self, host: Host, done_bytes: int, *, is_complete: bool) -> bool:
        """Note the progress of a host; return True if it should leave its source, which is slow."""
        warning = ""
        with self._lock:
            node = self._nodes[host.name]
            if node.source and done_bytes > node.done_bytes:
                self._has_worked = True
            now = self._clock.monotonic()
            if not node.is_complete:
                node.done_bytes = done_bytes
                node.rate = done_bytes / max(now - node.joined_at, 0.001)
            node.is_complete, node.is_suspect = is_complete, False
            source = self._nodes.get(node.source or "")
            if source and not is_complete and not node.is_moving and self._is_slow(source, now):
                node.is_moving = True
                if not source.is_slow:
                    source.is_slow = True
                    warning = f"{source.host.name} is slow: it does not pass {self.name} on to other VMs any more"
        if warning:
            self._on_event(Event("", "fan-out", "warning", text=warning))
        return node.is_moving

    def leave(self, host: Host) -> None:
        """Note that the install of a host has failed: it is no source any more."""
        with self._lock:
            if host.name in self._nodes:
                self._nodes[host.name].is_gone = True

    def _leave(self, node: Node, source: Node, why: str) -> str:
        """Note that a host leaves its source; return a warning, or nothing."""
        node.avoided.add(source.host.name)
        if why == "moved":
            return ""
        source.is_suspect = True
        if why == "wrong":
            source.accusers.add(node.host.name)
        if why == "unreachable" and not self._has_worked:
            self._unreachable += 1
            if self._unreachable == 2:
                self._is_closed = True
                return (
                    f"VMs cannot connect to each other: each gets {self.name} from this computer "
                    "(their security group must admit all traffic between them)"
                )
        reason = _REASONS.get(why, "no data")
        text = f"{node.host.name} does not get {self.name} from {source.host.name} any more: {reason}"
        # One that has everything stops serving when no host came for a while.
        return "" if source.is_complete and why != "wrong" else text

    def _choose(self, node: Node) -> Node | None:
        if self._is_closed:
            return None
        candidates = [other for other in self._nodes.values() if self._may_feed(other, node)]
        return min(candidates, key=self._cost, default=None)

    def _may_feed(self, source: Node, node: Node) -> bool:
        is_own = source is node or source.host.name in node.avoided
        if is_own or not source.port or not source.is_usable or source.is_slow:
            return False
        return self._depth(source, node) is not None

    def _depth(self, source: Node, node: Node | None = None) -> int | None:
        """Return the distance of a host from this computer; None if it gets nothing, or its data from `node`."""
        depth, current = 0, source
        while not current.is_complete and current.source != _CLIENT:
            if current.source is None or current is node or depth > len(self._nodes):
                return None
            current = self._nodes[current.source]
            if not current.is_usable or current is node:
                return None
            depth += 1
        return depth

    def _cost(self, source: Node) -> tuple[bool, int, int]:
        others = [node for node in self._nodes.values() if node.is_usable and not node.is_complete]
        receivers = sum(node.source == source.host.name for node in others)
        return receivers >= (1 if self.host_count <= CHAIN_HOSTS else 2), self._depth(source) or 0, receivers

    def _is_slow(self, source: Node, now: float) -> bool:
        if source.is_slow:
            return True
        # A host that gets its data from a slow one is not at fault; nor can the first one be compared with any.
        above = self._nodes.get(source.source or "")
        if above is None or above.is_slow or source.is_complete or now - source.joined_at < SLOW_AFTER_S:
            return False
        others = [node for node in self._nodes.values() if node.source and node.done_bytes >= SLOW_BYTES]
        return max((node.rate for node in others), default=0.0) > SLOW_FACTOR * source.rate


def certificate_name(host: Host) -> str:
    """Return the name in a host's certificate, which is one of DNS whatever the host is called."""
    return hashlib.sha256(host.name.encode()).hexdigest()[:32] + ".stratus"
