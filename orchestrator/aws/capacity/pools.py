"""Pools: where machines can come from. One type in one zone, bought one way, is one pool, and each is asked once.

A pool that had nothing is remembered on this computer for some minutes, so that the next launch begins elsewhere.
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
"""How long an empty pool is passed over: as long as Karpenter does (https://karpenter.sh/docs/faq, unavailable
offerings are kept for three minutes)."""

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
_ADDRESSES = "InsufficientFreeAddressesInSubnet"


@dataclass(frozen=True)
class Pool:
    """One instance type in one subnet, bought one way.

    :param market: ``on-demand`` or ``spot``.
    :param price: of one machine; None when unknown.
    """

    type_info: InstanceType
    subnet: Subnet
    market: str = ON_DEMAND
    price: price_table.Price | None = None

    @property
    def capacity_key(self) -> tuple[str, str, str]:
        """What AWS itself tells apart: subnets of one zone draw on the same machines."""
        return (self.type_info.name, self.subnet.zone, self.market)

    @property
    def quota_key(self) -> tuple[str, str]:
        """Which vCPU quota it counts against: one per group of families and market, in the whole region."""
        return (quota_family(self.type_info.name), self.market)

    def __str__(self) -> str:
        """In words: ``c7i.2xlarge in us-west-2a``."""
        return f"{self.type_info.name} in {self.subnet.zone}" + (" (spot)" if self.market == SPOT else "")


def quota_family(instance_type: str) -> str:
    """Return the name of the quota that a type counts against, as Service Quotas groups families."""
    return next((group for start, group in _FAMILIES if instance_type.startswith(start)), "Standard")


def ranked(candidates: Sequence[tuple[InstanceType, Sequence[Subnet]]], markets: Sequence[str]) -> list[Pool]:
    """Return all pools, the best first: subnet after subnet, then the next type; the second market comes last.

    :param machines: types, the wanted one first, each with the subnets that can take it, the best first.
    """
    return [
        Pool(machine, subnet, market) for market in markets for machine, subnets in candidates for subnet in subnets
    ]


def remaining_after(pools: Sequence[Pool], code: str, message: str = "") -> list[Pool] | None:
    """Return the pools still worth asking after the first one was refused; None when no pool can help.

    :param code: AWS's error code.
    :param said: its text.
    """
    here, rest = pools[0], pools[1:]
    if code == _ADDRESSES:  # another subnet of the zone has the same machines, and may have addresses
        return sorted(rest, key=lambda pool: pool.capacity_key != here.capacity_key)
    if code in _SPOT_ONLY:
        return [pool for pool in rest if pool.market != SPOT]
    reaction = error_codes.look_up(code, message).reaction
    if reaction == "region":
        return [pool for pool in rest if pool.quota_key != here.quota_key]
    return [pool for pool in rest if pool.capacity_key != here.capacity_key] if reaction == "zone" else None


@dataclass(frozen=True)
class CapacityMemory:
    """Which pools were empty lately, in a file; one that cannot be read or written is as good as none.

    :param path: of the file.
    :param mine: account and region whose pools they are.
    """

    path: Path
    cluster_id: ClusterId
    clock: Clock

    def record(self, pool: Pool, code: str) -> None:
        """Remember that a pool was empty."""
        self.record_key(pool.capacity_key, code)

    def record_key(self, key: tuple[str, str, str], code: str) -> None:
        """Remember it of the pool with this key: type, zone and market."""
        now = self.clock.now()
        kept = {name: fact for name, fact in self._load().items() if _fresh(fact, now)}
        kept[self._name(key)] = {"at": now.isoformat(), "code": code}
        draft = self.path.with_suffix(".new")
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(json.dumps(kept), encoding="utf-8")
            draft.replace(self.path)

    def recent_refusal(self, pool: Pool) -> str:
        """Return why a pool need not be asked; nothing when it may have machines."""
        fact = self._load().get(self._name(pool.capacity_key), {})
        return fact.get("code", "") if _fresh(fact, self.clock.now()) else ""

    def split(self, pools: Sequence[Pool]) -> tuple[list[Pool], list[tuple[Pool, str]]]:
        """Return the pools to ask, and those to pass over with the reason; when all would be, all are asked."""
        passed = [(pool, self.recent_refusal(pool)) for pool in pools]
        asked = [pool for pool, why in passed if not why]
        return (asked, [(pool, why) for pool, why in passed if why]) if asked else (list(pools), [])

    def _name(self, key: tuple[str, str, str]) -> str:
        return "/".join((self.cluster_id.account, self.cluster_id.region, *key))

    def _load(self) -> dict[str, dict[str, str]]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {key: fact for key, fact in found.items() if isinstance(fact, dict)} if isinstance(found, dict) else {}


def _fresh(fact: dict[str, str], now: datetime) -> bool:
    try:
        return now - timedelta(seconds=SKIP_FOR_S) < datetime.fromisoformat(fact["at"]) <= now
    except (KeyError, TypeError, ValueError):
        return False


def is_capacity_error(code: str) -> bool:
    """Whether a refusal means that a pool has no machines now, and will not have any in a minute."""
    return code.startswith(("Insufficient", "Reservation", "Unfulfillable")) and code != _ADDRESSES


def combined_error(tried: Sequence[tuple[Pool, CloudRefused]]) -> CloudRefused:
    """Return one error for all pools that were asked in vain; a single pool's own when there was only one."""
    if len(tried) == 1:
        return tried[0][1]
    last = tried[-1][1]
    reasons = "; ".join(f"{pool}: {refusal.code}" for pool, refusal in tried)
    return CloudRefused(f"{len(tried)} pools asked, none had the machines. {reasons}", code=last.code, fix=last.fix)
