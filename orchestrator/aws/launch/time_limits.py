"""Time limits of an instance: hours and a budget in dollars become a timer that runs on the instance itself.

So it holds whatever happens to this computer: the timer starts at every boot, subtracts the time of earlier boots, and
shuts the instance down, which terminates it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError

EXPIRE_SCRIPT = "/var/lib/cloud/scripts/per-boot/stratus-expire"  # cloud-init runs this folder at every boot
STATE_FOLDER = "/var/lib/stratus"
BACKSTOP_MINUTES = 15
"""How much later than the timer the backstop of the first boot stage shuts down."""

BOOT_MINUTES = 2
"""Minutes that every boot adds to the used budget: billing begins before the timer."""

MIN_MINUTES = 10
"""A budget for less than this is refused: the instances would shut down before a job could use them."""

_ROUNDING = 1e-6  # floating point: 1.35 h must not become 82 minutes


@dataclass(frozen=True)
class TimeLimits:
    """Limits of one instance.

    :param minutes: of one boot.
    :param budget_minutes: over all boots; 0 for no limit.
    :param idle_minutes: without use, after which the instance shuts down; 0 for never.
    :param ssh_port: of its SSH server, whose sessions count as use.
    """

    minutes: int
    budget_minutes: int = 0
    idle_minutes: int = 0
    ssh_port: int = 22

    @property
    def cloud_init_files(self) -> list[dict[str, str]]:
        """Entries of cloud-init's ``write_files``: the limits, and the scripts that enforce them."""
        limits = f"minutes={self.minutes} budget={self.budget_minutes} idle={self.idle_minutes} port={self.ssh_port}\n"
        # Without comments: the user data of EC2 is limited to 16 KiB.
        script = remote_scripts.text_without_comments
        # The image may be one of a VM that has been in use.
        fresh = [
            {"path": f"{STATE_FOLDER}/{name}", "permissions": "0644", "content": "0\n"} for name in ("used", "until")
        ]
        return [
            {"path": f"{STATE_FOLDER}/limits", "permissions": "0644", "content": limits},
            {"path": f"{STATE_FOLDER}/idle.sh", "permissions": "0755", "content": script("idle.sh")},
            {"path": EXPIRE_SCRIPT, "permissions": "0755", "content": script("expire.sh")},
            *fresh,
        ]

    @property
    def boot_commands(self) -> list[str]:
        """Commands of cloud-init's ``bootcmd``: a backstop for a boot that never arms the timer.

        They run in the first stage of every boot, before SSH is up; stratus-expire cancels the backstop.
        """
        minutes = min(self.minutes, self.budget_minutes or self.minutes) + BACKSTOP_MINUTES
        # --no-block: this stage would wait for units that wait for it. A failure here must not fail the boot.
        return [
            "! command -v systemd-run >/dev/null || systemd-run --no-block --unit=stratus-backstop"
            f" --on-active={minutes}min --timer-property=DefaultDependencies=no -p DefaultDependencies=no"
            " systemctl poweroff --force || :"
        ]


def whole_minutes(hours: float) -> int:
    """Return hours as whole minutes, rounded up."""
    return math.ceil(hours * 60 - _ROUNDING)


def budget_minutes(dollars: float, usd_per_hour: Decimal | None, *, description: str) -> int:
    """Return how many minutes some instances can run together for a budget; 0 for no limit.

    :param dollars: the budget; 0 for none.
    :param usd_per_hour: price of all of them, disks included; None if unknown.
    :param description: of the instances, ``2 x c7i.2xlarge``.
    :raises UsageError: the price is unknown, so that the budget cannot be enforced, or the budget is too small.
    """
    if not dollars:
        return 0
    if not usd_per_hour:
        raise UsageError(
            f"[cluster] max_dollars = {dollars:g} cannot be enforced: the price of {description} is unknown",
            fix="remove max_dollars (max_hours still applies), or choose an instance_type with a known price",
        )
    # Rounded down: the budget is a promise.
    minutes = int((Decimal(str(dollars)) * 60 / usd_per_hour).to_integral_value(ROUND_FLOOR))
    if minutes < BOOT_MINUTES + MIN_MINUTES:
        minimum = usd_per_hour * (BOOT_MINUTES + MIN_MINUTES) / 60
        raise UsageError(
            f"[cluster] max_dollars = {dollars:g} buys {minutes} min of {description} (${usd_per_hour:.2f}/h)",
            fix=f"set max_dollars to {_round_up(minimum)} or more, or launch fewer or smaller VMs",
        )
    return minutes


def _round_up(dollars: Decimal) -> str:
    return f"{math.ceil(dollars * 100) / 100:.2f}"
