"""Ceilings on the price of a VM: pools above them are not launched in, however a launch comes to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws.capacity.pools import SPOT, Pool
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from orchestrator.aws.pricing.price_table import Price
    from orchestrator.config.settings import VmSettings


@dataclass(frozen=True)
class PriceCeiling:
    """Highest prices of one VM, USD per hour, without disk and address; 0 for none.

    :param spot: is also sent to EC2, which ends an instance rather than charge more.
    """

    on_demand: Decimal = Decimal(0)
    spot: Decimal = Decimal(0)

    @classmethod
    def of(cls, settings: VmSettings) -> PriceCeiling:
        """Return the ceilings of the settings."""
        return cls(Decimal(str(settings.max_price)), Decimal(str(settings.max_spot_price)))

    @property
    def spot_limit(self) -> str:
        """The argument MaxPrice of a spot request; empty for none."""
        return format(self.spot, "f") if self.spot else ""

    def apply(
        self, pools: Sequence[Pool], spot_price: Callable[[str, str], Price | None]
    ) -> tuple[list[Pool], tuple[str, ...]]:
        """Return the pools below the ceilings, and a line for each type that is left out.

        :param spot_price: returns the present spot price of a type in a zone; None if unknown.
        :raises UsageError: all pools are above.
        """
        below: list[Pool] = []
        above: dict[str, str] = {}
        for pool in pools:
            if problem := self._problem(pool, spot_price):
                above.setdefault(f"{pool.type_info.name} {pool.market}", problem)
            else:
                below.append(self._with_limit(pool))
        if not below:
            types = NextStep("InstanceTypes", max_price=float(self.on_demand or self.spot))
            fix = "raise it in the config, or set another [cluster] instance_type: " + types + "  lists types"
            raise UsageError(f"every VM would cost more than allowed: {'; '.join(above.values())}", fix=fix)
        return below, tuple(f"not launched: {problem}" for problem in above.values())

    def _problem(self, pool: Pool, spot_price: Callable[[str, str], Price | None]) -> str:
        """Return why a pool may not be launched in; empty if it may."""
        name, ceiling = ("max_spot_price", self.spot) if pool.market == SPOT else ("max_price", self.on_demand)
        if not ceiling:
            return ""
        # The spot market decides itself, by the limit of the request, where the price is not known here.
        price = spot_price(pool.type_info.name, pool.subnet.zone) if pool.market == SPOT else pool.price
        if price is None:
            return (
                ""
                if pool.market == SPOT
                else f"the price of {pool.type_info.name} is unknown, [vms] {name} = {ceiling}"
            )
        where = f" (spot, {pool.subnet.zone})" if pool.market == SPOT else ""
        if price.usd <= ceiling:
            return ""
        return f"{pool.type_info.name}{where} costs ${price.usd.normalize():f}/h, [vms] {name} = {ceiling}"

    def _with_limit(self, pool: Pool) -> Pool:
        if pool.market != SPOT or not self.spot or (pool.price and pool.price.usd <= self.spot):
            return pool
        return replace(pool, price=replace(pool.price, usd=self.spot) if pool.price else None)
