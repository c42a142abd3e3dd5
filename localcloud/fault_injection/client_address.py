"""Inject changes of the user's own address, after which security groups admit an address that is no longer in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from localcloud.ec2.environment import CloudEnvironment
from localcloud.scenarios.targets import Subject

KIND = "address-changes"


@dataclass
class ClientAddressFaults:
    """Changes the address of the user's computer when a scenario says so.

    :param on_change: called after a change.
    """

    environment: CloudEnvironment
    on_change: Callable[[], None]
    _first_address: str = field(init=False)
    _scenario_number: int = 0

    def __post_init__(self) -> None:
        self._first_address = self.environment.client.address

    def on_scenario(self) -> None:
        """Plan the changes of the scenario that was loaded, and undo those of the one before."""
        self._scenario_number += 1
        number = self._scenario_number

        def update() -> None:
            with self.environment.lock:
                if self._scenario_number == number:
                    self._update()

        self._update()
        for fault in self.environment.fault_engine.scenario.faults:
            if fault.kind == KIND:
                for moment_s in (fault.when.first, fault.when.last):
                    if moment_s < math.inf:
                        self.environment.clock.after(moment_s, update)

    def _update(self) -> None:
        engine, client = self.environment.fault_engine, self.environment.client
        fault = next((active.fault for active in engine.active(KIND, Subject())), None)
        address = self._first_address if fault is None else str(fault["address"])
        if fault is not None:
            engine.note_moment(fault)
        if client.address != address:
            client.address = address
            self.on_change()
