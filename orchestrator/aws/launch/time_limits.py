"""How long a machine may live: hours and dollars become a timer on the machine itself, by arithmetic.

The timer holds with the laptop in the sea: it is armed at every boot, counts what was used before, and shutting down
terminates the machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError

EXPIRE_SCRIPT = "/var/lib/cloud/scripts/per-boot/stratus-expire"
STATE_FOLDER = "/var/lib/stratus"
BOOT_MINUTES = 2
"""What a machine books for each of its boots: billing begins before the timer does."""

MIN_MINUTES = 10
"""A launch that money buys less of than this is not worth its boot."""

_SLACK = 1e-6  # hours are a float; 1.35 h must not become 82 minutes


@dataclass(frozen=True)
class TimeLimits:
    """The limits of one machine.

    :param minutes: of one boot.
    :param budget: minutes in all, over every boot; 0 is any number.
    :param idle: minutes of nobody's use after which it ends itself; 0 is never.
    :param port: of its SSH server, whose sessions count as use.
    """

    minutes: int
    budget_minutes: int = 0
    idle_minutes: int = 0
    ssh_port: int = 22

    @property
    def cloud_init_files(self) -> list[dict[str, str]]:
        """The entries of cloud-config's ``write_files`` that keep the limits."""
        limits = f"minutes={self.minutes} budget={self.budget_minutes} idle={self.idle_minutes} port={self.ssh_port}\n"
        return [
            {"path": f"{STATE_FOLDER}/limits", "permissions": "0644", "content": limits},
            {"path": f"{STATE_FOLDER}/idle.sh", "permissions": "0755", "content": remote_scripts.text("idle.sh")},
            {"path": EXPIRE_SCRIPT, "permissions": "0755", "content": remote_scripts.text("expire.sh")},
        ]


def whole_minutes(hours: float) -> int:
    """Return hours as whole minutes, rounded up."""
    return math.ceil(hours * 60 - _SLACK)


def budget_minutes(dollars: float, per_hour: Decimal | None, *, description: str) -> int:
    """Return how many minutes some machines may live together for an amount of money; 0 stands for no limit.

    :param dollars: the cap; 0 is none.
    :param per_hour: USD per hour of all of them, disks included.
    :param what: the machines in words, ``2 x c7i.2xlarge``.
    :raises UsageError: the price is unknown, so that no cap can be kept, or the cap buys next to nothing.
    """
    if not dollars:
        return 0
    if not per_hour:
        raise UsageError(
            f"[cluster] max_dollars = {dollars:g} cannot be kept: the price of {description} is unknown",
            fix="remove max_dollars (max_hours still ends the machines), or choose an instance_type with a known price",
        )
    minutes = int((Decimal(str(dollars)) * 60 / per_hour).to_integral_value(ROUND_FLOOR))
    if minutes < BOOT_MINUTES + MIN_MINUTES:
        least = per_hour * (BOOT_MINUTES + MIN_MINUTES) / 60
        raise UsageError(
            f"[cluster] max_dollars = {dollars:g} buys {minutes} min of {description} (${per_hour:.2f}/h)",
            fix=f"set max_dollars to {_up(least)} or more, or launch fewer or smaller machines",
        )
    return minutes


def _up(dollars: Decimal) -> str:
    return f"{math.ceil(dollars * 100) / 100:.2f}"
