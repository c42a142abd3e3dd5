"""The verbs on time, money, quotas and access; see :mod:`orchestrator.interface.verbs.jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.interface.render import account
from orchestrator.interface.verbs.base import Work

if TYPE_CHECKING:
    from orchestrator.aws.capacity.offerings import Offering
    from orchestrator.aws.capacity.quotas import QuotaIncrease
    from orchestrator.cluster.lifetime import ExtendReport, IdleShutdownReport
    from orchestrator.services.account import AccessReport, Cost


class AccountVerbs(Work):
    """What can be asked of the account and of the machines' own timers."""

    def cost(self) -> Cost:
        """Show what the cluster costs: per hour, so far, at most if you forget it.

        Example  Cost()
        """
        cost = self.desk.session(files=False).account.cost()
        return self._answer(cost, account.cost(cost, _now()))

    def extend(self, hours: float) -> ExtendReport:
        """Let the VMs that are up live some hours longer.

        Their own timers are set anew. [cluster] max_dollars still holds: to go beyond it, raise it in the config first.

        hours  added to the time that each VM has left.

        Costs  as before, for longer: the new end and the most it can cost are shown.
        Example  Extend(4)
        """
        _number(hours, "hours", "Extend(4)")
        report = self.desk.session().cluster.extend(float(hours))
        self._answer(report, account.extended(report, _now()))
        _all(report.failed, "could not be extended", "Status() shows when they end")
        return report

    def idle_shutdown(self, minutes: int) -> IdleShutdownReport:
        """End each VM that nobody uses: no job, no SSH session (this shell's count), no GPU use.

        [cluster] idle_minutes sets it for VMs that are launched from then on; this is for those that are up.

        minutes  of nobody's use, after which a VM ends itself; 0 is never.

        Example  IdleShutdown(30)
        """
        _number(minutes, "minutes", "IdleShutdown(30)")
        report = self.desk.session().cluster.set_idle_shutdown(int(minutes))
        self._answer(report, account.idle(report))
        _all(report.failed, "could not be told", "IdleShutdown() again tries again")
        return report

    def request_limit_increase(self, n: int | None = None) -> QuotaIncrease:
        """Ask AWS for the vCPU quota that a launch takes; nothing is asked when there is enough.

        n  how many VMs (default: [cluster] count).

        Costs  nothing. AWS answers by mail, usually within a working day.
        Example  RequestLimitIncrease(4)
        """
        if n is not None:
            _number(n, "n", "RequestLimitIncrease(4)")
        made = self.desk.session(files=False).account.request_quota_increase(n and int(n))
        return self._answer(made, account.requested(made))

    def instances(self, gpus: int = 0, *, vcpus: int = 0, memory: float = 0) -> Sequence[Offering]:
        """List instance types that can be launched now, the cheapest first.

        gpus    at least so many; 0: types without.
        vcpus   at least so many.
        memory  GiB, at least.

        Costs  nothing.
        Example  Instances(gpus=1)   or   Instances(vcpus=16, memory=64)
        Next  set [cluster] instance_type in the config file
        """
        from orchestrator.aws.capacity.offerings import Requirements

        for name, value in (("gpus", gpus), ("vcpus", vcpus), ("memory", memory)):
            _number(value, name, "Instances(gpus=1)")
        found = self.desk.session(files=False).account.instance_types(
            Requirements(int(gpus), int(vcpus), float(memory))
        )
        return self._answer(found, account.offers(found))

    def refresh_access(self) -> AccessReport:
        """Admit the address that this computer has now to the VMs' SSH port, and no old one.

        Example  RefreshAccess()
        """
        report = self.desk.session(files=False).account.refresh_access()
        return self._answer(report, account.access(report))


def _number(value: object, name: str, example: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise UsageError(f"{name} = {value!r}: a number is wanted", fix=example)


def _now() -> datetime:
    return datetime.now(UTC)


def _all(failed: Mapping[str, Exception], what: str, fix: str) -> None:
    """Raise when hosts failed; their own errors were shown already."""
    if failed:
        raise StratusError(f"{' '.join(failed)} {what}", fix=fix)
