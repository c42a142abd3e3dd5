"""Hosts whose operations are carried out one after the other, each host's on a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from localcloud.hosts.interface import HostError
from localcloud.hosts.spec import HostSpec

_log = logging.getLogger(__name__)
_STOP_DEADLINE_S = 150.0


@dataclass
class Lane:
    """One host, and the thread of its operations.

    :param on: False from a stop, or from the host's own end, to the next start.
    :param ending: set while the host is being stopped.
    """

    spec: HostSpec
    executor: ThreadPoolExecutor
    on: bool = True
    ending: threading.Event = field(default_factory=threading.Event)


LaneT = TypeVar("LaneT", bound=Lane)


class Lanes(Generic[LaneT]):
    """The hosts of one kind. Safe to use from several threads.

    :param create: returns the lane of a new host.
    :param failures: types of errors with which operations fail.
    :param on_shutdown: called with the instance id, on a separate thread, when a host has shut itself down.
    """

    def __init__(
        self,
        create: Callable[[HostSpec, ThreadPoolExecutor], LaneT],
        failures: tuple[type[Exception], ...],
        on_shutdown: Callable[[str], None],
    ) -> None:
        self._create, self._failures, self._on_shutdown = create, failures, on_shutdown
        self._stop_failures: tuple[type[Exception], ...] = (TimeoutError, *failures)
        self._lanes: dict[str, LaneT] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._shutdowns: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._report_shutdowns, name="shutdowns", daemon=True).start()

    def start(self, spec: HostSpec, boot: Callable[[LaneT], None]) -> None:
        """Boot a host; returns at once.

        :raises HostError: it is on already, or these hosts are closed.
        """
        with self._lock:
            if self._closed:
                raise HostError("these hosts are closed")
            lane = self._lanes.get(spec.instance_id)
            if lane is None:
                executor = ThreadPoolExecutor(1, thread_name_prefix=spec.instance_id)
                lane = self._lanes[spec.instance_id] = self._create(spec, executor)
            elif lane.on:
                raise HostError(f"{spec.instance_id} is already on")
            lane.spec, lane.on = spec, True
            lane.ending.clear()
            lane.executor.submit(self._guarded, lane, boot)

    def submit(self, instance_id: str, action: Callable[[LaneT], None]) -> None:
        """Carry out an operation on a host after those before it; returns at once. Does nothing if it is off."""
        with self._lock:
            lane = self._lanes.get(instance_id)
        if lane is not None and lane.on:
            with contextlib.suppress(RuntimeError):
                lane.executor.submit(self._guarded, lane, action)

    def end(self, instance_id: str, action: Callable[[LaneT], None]) -> None:
        """Carry out an operation that ends a host, and wait for it.

        :raises HostError: it failed, or takes longer than 150 s.
        """
        with self._lock:
            lane = self._lanes.get(instance_id)
        if lane is None:
            return
        lane.ending.set()
        try:
            lane.executor.submit(action, lane).result(_STOP_DEADLINE_S)
        except self._stop_failures as error:
            raise HostError(f"{instance_id} cannot be stopped: {error}") from error
        lane.on = False

    def remove(self, instance_id: str) -> LaneT | None:
        """Forget a host that was ended, and return its lane."""
        with self._lock:
            lane = self._lanes.pop(instance_id, None)
        if lane is not None:
            lane.executor.shutdown(wait=False)
        return lane

    def open_at(self, instance_id: str, addresses: Collection[str], update: Callable[[LaneT], None]) -> None:
        """Let the SSH port answer at these addresses of a host only, now and at every boot; returns at once."""
        with self._lock:
            lane = self._lanes.get(instance_id)
            if lane is not None:
                lane.spec = replace(lane.spec, open_addresses=tuple(addresses))
        self.submit(instance_id, update)

    def close(self) -> list[LaneT]:
        """Start no host any more; return those that exist, marked as ending. The second call returns none."""
        with self._lock:
            if self._closed:
                return []
            self._closed = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.ending.set()
        self._shutdowns.put(None)
        return lanes

    def report_shutdown(self, lane: LaneT) -> None:
        """Tell the owner that a host has shut itself down."""
        lane.on = False
        self._shutdowns.put(lane.spec.instance_id)

    def _guarded(self, lane: LaneT, action: Callable[[LaneT], None]) -> None:
        """Run an operation that has no caller waiting; if it fails, the host counts as off."""
        try:
            action(lane)
        except self._failures as error:
            if not lane.ending.is_set():
                _log.warning("%s: %s", lane.spec.instance_id, error)
                lane.on = False

    def _report_shutdowns(self) -> None:
        # On a thread of its own, because the owner may call ``stop`` in return.
        while (instance_id := self._shutdowns.get()) is not None:
            try:
                self._on_shutdown(instance_id)
            except Exception as error:
                # A failing callback must not prevent later ones.
                sys.excepthook(type(error), error, error.__traceback__)
