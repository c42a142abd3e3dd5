"""Verbs on cost, time limits, quotas and access."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.cluster import STATUS
from orchestrator.interface.verbs.interaction import check_number, raise_if_failed, show
from orchestrator.interface.verbs.parameters import (
    VerbParameter,
    VmCount,
    WholeNumber,
    decimal_number,
    whole_number,
)

if TYPE_CHECKING:
    from orchestrator.aws.capacity.offerings import Offering
    from orchestrator.aws.capacity.quotas import QuotaIncrease
    from orchestrator.aws.pricing.break_even import BreakEven
    from orchestrator.aws.sagemaker.quotas import SageMakerQuotaIncrease
    from orchestrator.cluster.lifetime import ExtendReport, IdleShutdownReport
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.account import AccessReport, Cost

GROUP = VerbGroup("Cost, limits and access")

DEFAULT_USD_PER_KWH = 0.17
"""Mean price for households in the USA in 2025: https://www.eia.gov/electricity/monthly/ (table 5.3)"""

MAX_YEARS = 50

Hours = Annotated[float, VerbParameter(metavar="HOURS", parse=decimal_number)]
Minutes = Annotated[int, VerbParameter(metavar="MINUTES", parse=whole_number)]
Usd = Annotated[float, VerbParameter(metavar="USD", parse=decimal_number)]
Watts = Annotated[float, VerbParameter(metavar="WATTS", parse=decimal_number)]
Years = Annotated[float, VerbParameter(metavar="YEARS", parse=decimal_number)]
QuotaName = Annotated[str, VerbParameter(metavar="NAME")]
Gib = Annotated[float, VerbParameter(metavar="GIB", parse=decimal_number)]


@GROUP.verb("Cost", "cost", examples=(NextStep("Cost"),))
def cost(workspace: Workspace) -> Cost:
    """Show the cost: per hour, so far, and at most."""
    return show(workspace, workspace.session(files=False).account.cost())


@GROUP.verb("Extend", "extend", changes_cluster=True, examples=(NextStep("Extend", 4),))
def extend(workspace: Workspace, hours: Hours) -> ExtendReport:
    """Let the VMs run longer before they shut down.

    [cluster] max_dollars still holds: to exceed it, raise it in the config file first.

    hours  added to the time that each VM has left.

    Costs  the price as before, for longer; the new end and the maximum total cost are shown.
    """
    # Typed values reach the function as they are at the prompt; only the command line has parsed them.
    check_number(hours, "hours", NextStep("Extend", 4))
    report = workspace.session().cluster.extend(float(hours))
    show(workspace, report)
    fix = STATUS + " shows when they shut down"
    raise_if_failed(report.failed, "{hosts} could not be extended", fix=fix)
    return report


@GROUP.verb("IdleShutdown", "idle", examples=(NextStep("IdleShutdown", 30),))
def idle_shutdown(workspace: Workspace, minutes: Minutes) -> IdleShutdownReport:
    """Shut down VMs that are idle.

    Idle is a VM without a job, a busy notebook, an SSH session or GPU use. A tunnel or a notebook that is only open is
    no use; other connections from this shell are. The setting [cluster] idle_minutes applies to VMs that are launched
    later; this verb to those that are up.

    minutes  minutes without use; 0 turns it off.
    """
    check_number(minutes, "minutes", NextStep("IdleShutdown", 30))
    report = workspace.session().cluster.set_idle_shutdown(int(minutes))
    show(workspace, report)
    raise_if_failed(report.failed, "{hosts} could not be set", fix=NextStep("IdleShutdown", minutes) + " tries again")
    return report


@GROUP.verb(
    "RequestLimitIncrease",
    "quota",
    examples=(
        NextStep("RequestLimitIncrease", 4),
        NextStep("RequestLimitIncrease", 2, quota="ml.g5.xlarge for training job usage"),
    ),
)
def request_limit_increase(
    workspace: Workspace, n: VmCount = None, *, quota: QuotaName = ""
) -> QuotaIncrease | SageMakerQuotaIncrease:
    """Request the quota that a launch needs.

    Nothing is requested if there is enough.

    n      how many VMs (default: [cluster] count), or instances of SageMaker.
    quota  name of a quota of SageMaker: "TYPE for USE usage", with training job, spot training job, endpoint or
           transform job as USE.

    Costs  nothing. AWS answers by mail, usually within a working day.
    """
    if n is not None:
        check_number(n, "n", NextStep("RequestLimitIncrease", 4))
    account = workspace.session(files=False).account
    count = n and int(n)
    if quota:
        return show(workspace, account.request_sagemaker_quota_increase(quota, count))
    return show(workspace, account.request_quota_increase(count))


def _types_document(offers: Sequence[Offering]) -> dict[str, object]:
    return {"instance_types": offers}


@GROUP.verb(
    "InstanceTypes",
    "instance-types",
    aliases=("Instances",),
    command_aliases=("instances",),
    document=_types_document,
    examples=(NextStep("InstanceTypes", gpus=1, max_price=2), NextStep("InstanceTypes", vcpus=16, memory=64)),
    next_steps=("set [cluster] instance_type in the config file",),
)
def instance_types(
    workspace: Workspace,
    gpus: WholeNumber = 0,
    *,
    vcpus: WholeNumber = 0,
    memory: Gib = 0,
    max_price: Usd = 0,
    family: str = "",
) -> Sequence[Offering]:
    """List instance types that can be launched now.

    The cheapest first, with their price on demand and on the spot market.

    gpus       at least so many GPUs; 0: types without, unless family is given.
    vcpus      at least so many vCPUs.
    memory     at least so much memory, GiB.
    max_price  at most so many USD per hour on demand.
    family     only this family: g5, c7i.

    Costs  nothing.
    """
    from orchestrator.aws.capacity.offerings import Requirements
    from orchestrator.interface.render import account

    for name, value in (("gpus", gpus), ("vcpus", vcpus), ("memory", memory), ("max_price", max_price)):
        check_number(value, name, NextStep("InstanceTypes", gpus=1))
    if family and not re.fullmatch(r"[a-z][a-z0-9-]*", family):
        raise UsageError(
            f"family = {family!r} is not a family of instance types", fix=NextStep("InstanceTypes", family="g5")
        )
    requirements = Requirements(int(gpus), int(vcpus), float(memory), family, Decimal(str(max_price)))
    service = workspace.session(files=False).account
    with workspace.progress.shown():
        offers = service.instance_types(requirements)
    if not offers and not service.types_exist(requirements):
        return show(workspace, offers, account.no_such_type(requirements))
    if not offers and requirements.max_usd_per_hour:
        return show(workspace, offers, account.no_such_price(requirements))
    return show(workspace, offers, account.instance_types(offers))


@GROUP.verb(
    "BreakEven",
    "break-even",
    examples=(NextStep("BreakEven", price=2000, watts=450, hours_per_day=2),),
)
def break_even(
    workspace: Workspace,
    *,
    price: Usd = 2000,
    watts: Watts = 450,
    hours_per_day: Hours = 8,
    years: Years = 3,
    usd_per_kwh: Usd = DEFAULT_USD_PER_KWH,
    instance_type: str = "",
) -> BreakEven:
    """Compare buying a computer with renting VMs.

    VMs exist only while they are used, with the disk of the config file and a public address.

    price          of the computer, USD.
    watts          that it draws while it is used.
    hours_per_day  of use, the same for both.
    years          of use.
    usd_per_kwh    price of electricity.
    instance_type  of the VM (default: [cluster] instance_type).

    Costs  nothing.
    """
    from orchestrator.aws.pricing.break_even import OwnComputer, Use

    example = NextStep("BreakEven", price=2000, watts=450, hours_per_day=2)
    own = {"price": price, "watts": watts, "usd_per_kwh": usd_per_kwh}
    use = {"hours_per_day": hours_per_day, "years": years}
    for name, value in (own | use).items():
        check_number(value, name, example)
    for name, value in use.items():
        highest = MAX_YEARS if name == "years" else 24
        if not 0 < value <= highest:
            raise UsageError(f"{name} = {value:g} is out of range: more than 0, at most {highest}", fix=example)
    try:
        answer = workspace.session(files=False).account.break_even(
            OwnComputer(*(Decimal(str(value)) for value in own.values())),
            Use(*(Decimal(str(value)) for value in use.values())),
            instance_type,
        )
    except UsageError as error:
        # The advice is on the config file, which the option replaces.
        if instance_type and error.fix:
            error.fix = NextStep("InstanceTypes") + "  lists types"
        raise
    return show(workspace, answer)


@GROUP.verb("RefreshAccess", "access", examples=(NextStep("RefreshAccess"),))
def refresh_access(workspace: Workspace) -> AccessReport:
    """Allow SSH from this computer's current address only."""
    session = workspace.session(files=False)
    report = session.account.refresh_access()
    session.ssh_config.keep()
    return show(workspace, report)
