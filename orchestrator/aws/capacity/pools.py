"""Capacity pools: one instance type in one Availability Zone and market; a launch tries one pool after another.

A pool without capacity is remembered on this computer for some minutes, so that the next launch begins with another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.aws import error_codes
from orchestrator.core.clock import Clock
from orchestrator.core.errors import CloudRefused

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.ec2.network import Subnet
    from orchestrator.aws.identity import ClusterId
    from orchestrator.aws.pricing import price_table

ON_DEMAND, SPOT = "on-demand", "spot"

SKIP_FOR_S = 180.0
"""For how long a pool without capacity is skipped. Karpenter caches unavailable offerings for three minutes, too:
https://karpenter.sh/docs/faq."""

# First letters of an instance type -> its vCPU quota:
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
_FAMILIES = (
    ("g", "G and VT"),
    ("vt", "G and VT"),
    ("p", "P"),
    ("inf", "Inf"),
    ("trn", "Trn"),
    ("u-", "High Memory"),
    ("x", "X"),
    ("dl", "DL"),
    ("f", "F"),
    ("hpc", "HPC"),
)
_SPOT_ONLY = ("MaxSpotInstanceCountExceeded", "AuthFailure.ServiceLinkedRoleCreationNotPermitted")
_NO_ADDRESSES = "InsufficientFreeAddressesInSubnet"


@dataclass(frozen=True)
class Pool:
    """One instance type in one subnet and market.

    :param market: ``on-demand`` or ``spot``.
    :param price: of one instance; None if unknown.
    """

    type_info: InstanceType
    subnet: Subnet
    market: str = ON_DEMAND
    price: price_table.Price | None = None

    @property
    def capacity_key(self) -> tuple[str, str, str]:
        """Type, zone and market: subnets of one zone share its capacity."""
        return (self.type_info.name, self.subnet.zone, self.market)

    @property
    def quota_key(self) -> tuple[str, str]:
        """Group of families and market: a vCPU quota applies to the whole region."""
        return (quota_family(self.type_info.name), self.market)

    def __str__(self) -> str:
        """Return type and zone: ``c7i.2xlarge in us-west-2a``."""
        return f"{self.type_info.name} in {self.subnet.zone}" + (" (spot)" if self.market == SPOT else "")


def quota_family(instance_type: str) -> str:
    """Return the group of families that shares a vCPU quota with an instance type, as Service Quotas names it."""
    return next((group for start, group in _FAMILIES if instance_type.startswith(start)), "Standard")


def ranked(candidates: Sequence[tuple[InstanceType, Sequence[Subnet]]], markets: Sequence[str]) -> list[Pool]:
    """Return all pools in order of preference: by market, then type, then subnet.

    :param candidates: types in order of preference, each with the subnets that can take it, likewise.
    """
    return [
        Pool(type_info, subnet, market) for market in markets for type_info, subnets in candidates for subnet in subnets
    ]


def remaining_after(pools: Sequence[Pool], code: str, message: str = "") -> list[Pool] | None:
    """Return the pools that may succeed after the first one was refused; None if the refusal applies to all pools.

    :param code: AWS error code.
    :param message: AWS's message.
    """
    refused, others = pools[0], pools[1:]
    if code == _NO_ADDRESSES:  # first another subnet of the same zone: it has the same capacity, and may have addresses
        return sorted(others, key=lambda pool: pool.capacity_key != refused.capacity_key)
    if code in _SPOT_ONLY:  # on demand has a quota of its own, and needs no service-linked role
        return [pool for pool in others if pool.market != SPOT]
    reaction = error_codes.look_up(code, message).reaction
    if reaction == "region":
        return [pool for pool in others if pool.quota_key != refused.quota_key]
    return [pool for pool in others if pool.capacity_key != refused.capacity_key] if reaction == "zone" else None


@dataclass(frozen=True)
class CapacityMemory:
    """Pools that lacked capacity recently, in a file; a file that cannot be read or written is ignored.

    :param path: of the file.
    :param cluster_id: account and region of the pools.
    """

    path: Path
    cluster_id: ClusterId
    clock: Clock

    def record(self, pool: Pool, code: str) -> None:
        """Record that a pool has no capacity."""
        self.record_key(pool.capacity_key, code)

    def record_key(self, key: tuple[str, str, str], code: str) -> None:
        """Record that the pool with a `Pool.capacity_key` has no capacity."""
        now = self.clock.now()
        entries = {name: entry for name, entry in self._load().items() if _is_recent(entry, now)}
        entries[self._name(key)] = {"at": now.isoformat(), "code": code}
        draft = self.path.with_suffix(".new")  # renamed when complete: another process never reads half a file
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(json.dumps(entries), encoding="utf-8")
            draft.replace(self.path)

    def recent_refusal(self, pool: Pool) -> str:
        """Return the error code with which a pool was refused recently; empty if it was not."""
        entry = self._load().get(self._name(pool.capacity_key), {})
        return entry.get("code", "") if _is_recent(entry, self.clock.now()) else ""

    def split(self, pools: Sequence[Pool]) -> tuple[list[Pool], list[tuple[Pool, str]]]:
        """Return the pools to try, and those to skip with their error code; if all would be skipped, none is."""
        refusals = [(pool, self.recent_refusal(pool)) for pool in pools]
        to_try = [pool for pool, code in refusals if not code]
        return (to_try, [(pool, code) for pool, code in refusals if code]) if to_try else (list(pools), [])

    def _name(self, key: tuple[str, str, str]) -> str:
        return "/".join((self.cluster_id.account, self.cluster_id.region, *key))

    def _load(self) -> dict[str, dict[str, str]]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(entries, dict):
            return {}
        return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}


def _is_recent(entry: dict[str, str], now: datetime) -> bool:
    try:
        return now - timedelta(seconds=SKIP_FOR_S) < datetime.fromisoformat(entry["at"]) <= now
    except (KeyError, TypeError, ValueError):
        return False


def is_capacity_error(code: str) -> bool:
    """Return True if an error code means that a pool has no capacity, now and for some minutes."""
    return code.startswith(("Insufficient", "Reservation", "Unfulfillable")) and code != _NO_ADDRESSES


def combined_error(refusals: Sequence[tuple[Pool, CloudRefused]]) -> CloudRefused:
    """Return one error for all pools that were tried; with one pool its own."""
    if len(refusals) == 1:
        return refusals[0][1]
    last = refusals[-1][1]
    reasons = "; ".join(f"{pool}: {refusal.code}" for pool, refusal in refusals)
    return CloudRefused(f"no capacity in any of {len(refusals)} pools. {reasons}", code=last.code, fix=last.fix)
