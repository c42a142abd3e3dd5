"""Everything that can be known before a launch, asked at the same time: all problems at once, and nothing is changed.

Two rounds of questions, because some follow from answers: first what is named in the config, then whether AWS would
let us do it with what was found. What a launch can do without (prices, quota, the job's data) has seconds to answer;
when it does not, it is unknown and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, error_codes, parallel
from orchestrator.aws import identity as aws_identity
from orchestrator.aws.capacity import quotas
from orchestrator.aws.capacity.pools import SPOT
from orchestrator.aws.ec2 import instance_profiles, key_pairs, security_groups
from orchestrator.aws.launch import plan as launch_plan
from orchestrator.aws.launch import planner, run_instances
from orchestrator.aws.pricing import price_table
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import CloudRefused, NotReady, StratusError, UsageError
from orchestrator.core.events import Event, EventHandler, ignore_event

if TYPE_CHECKING:
    from orchestrator.aws.launch.launch_log import LaunchLog
    from orchestrator.config.settings import Settings

QUOTA_TIMEOUT_S = 4.0
"""For the quota: a launch can do without, but too small a one is found out best before it."""

CHECK_TIMEOUT_S = 20.0
"""For whether AWS would let us: the launch itself would find out, after it has made a group or a key."""

REQUIRED_TIMEOUT_S = 150.0
"""For what it cannot do without: longer than AWS may have us wait for answers that it slows down."""

BACKOFF = Backoff(first_s=1.0, longest_s=5.0)
PERMISSIONS = "permissions"

Checks = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class PreflightContext:
    """What a launch is checked with.

    :param books: the journal's knowledge.
    :param book: the prices.
    :param login: the key that is to open the machines; a function, because it may find fault with the config.
    :param more: questions about the job, each raising what it finds.
    :param my_address: finds out this computer's address.
    :param tell: hears what is waited for.
    :param quick: seconds for what a launch can do without.
    """

    clients: client.Clients
    settings: Settings
    identity: aws_identity.Identity
    key_pair: Callable[[], key_pairs.KeyPair]
    launch_log: LaunchLog | None = None
    prices: price_table.Prices = price_table.TABLE
    job_checks: Checks | None = None
    find_address: Callable[[], str] = security_groups.public_address
    on_event: EventHandler = ignore_event
    optional_timeout_s: float = parallel.OPTIONAL_TIMEOUT_S

    @property
    def clock(self) -> Clock:
        """Time, as the journal has it."""
        return self.clients.clock


def for_cluster(context: ClusterContext, job_checks: Checks) -> PreflightContext:
    """Return what a launch into a cluster is checked with."""
    return PreflightContext(
        context.clients,
        context.settings,
        context.identity,
        lambda: context.key_pair,
        context.launch_log,
        context.prices,
        job_checks,
        on_event=context.on_event,
        optional_timeout_s=context.runtime.optional_timeout_s,
    )


def plan(context: PreflightContext, count: int) -> launch_plan.LaunchPlan:
    """Look up and check everything that a launch needs.

    :param count: how many machines.
    :raises StratusError: one thing speaks against it.
    :raises NotReady: several do; it holds them all.
    """
    mine = aws_identity.cluster_id(context.clients, context.settings, context.identity)
    must = planner.lookups(context.clients, context.settings, mine)
    answers = parallel.gather(
        context.clients,
        {**must, **_first_round(context)},
        timeout_s=context.optional_timeout_s,
        longer_timeouts_s={
            "key pair": CHECK_TIMEOUT_S,
            "quota": max(QUOTA_TIMEOUT_S, context.optional_timeout_s),
            **dict.fromkeys(must, REQUIRED_TIMEOUT_S),
        },
    )
    problems = [answers[name].error for name in must] + [
        _blocking(answers[name].error) for name in answers.keys() - must
    ]
    found = [each for each in problems if each is not None]
    made, sources = None, answers["address"].value or ()
    if not any(answers[name].error for name in must):
        facts: list[Any] = [answers[name].value for name in must]
        made, more = _build(context, planner.LookupResults(mine, *facts), count, sources)
        found += more
    _raise_problems(found)
    assert made is not None
    limit = _limit(context, made, answers["quota"].value)
    return replace(made, quota=limit, warnings=_notes(answers, context.job_checks or {}))


def _first_round(desk: PreflightContext) -> dict[str, Callable[[], Any]]:
    wanted = desk.settings.cluster
    asks: dict[str, Callable[[], Any]] = {
        "prices": lambda: desk.prices.refresh(*planner.priced_types(desk.settings)),
        "quota": lambda: quotas.query(desk.clients, wanted.instance_type, 0, market=wanted.market),
        "address": lambda: security_groups.ssh_access(desk.settings, "", find_address=desk.find_address).sources,
    }
    if wanted.market == SPOT:
        asks["spot"] = lambda: desk.prices.refresh_spot(planner.priced_types(desk.settings)[0])
    if desk.settings.aws.key_name:
        asks["key pair"] = lambda: key_pairs.check(desk.clients, _cluster_id(desk), desk.key_pair())
    return asks | dict(desk.job_checks or {})


def _cluster_id(desk: PreflightContext) -> aws_identity.ClusterId:
    return aws_identity.cluster_id(desk.clients, desk.settings, desk.identity)


def _build(
    desk: PreflightContext, facts: planner.LookupResults, count: int, sources: tuple[str, ...]
) -> tuple[launch_plan.LaunchPlan | None, list[Exception]]:
    """Make the plan and ask what follows from it."""
    try:
        made = planner.build_plan(
            desk.clients, desk.settings, facts, count=count, launch_log=desk.launch_log, prices=desk.prices
        )
    except StratusError as error:
        return None, [error]
    made = replace(made, ssh_sources=sources)
    answers = parallel.gather(desk.clients, _second_round(desk, made), timeout_s=CHECK_TIMEOUT_S)
    errors = [answers[name].error for name in answers if name != PERMISSIONS]
    errors.append(_after_profile_propagates(desk, made, answers[PERMISSIONS].error))
    return made, [each for each in map(_blocking, errors) if each is not None]


def _second_round(desk: PreflightContext, made: launch_plan.LaunchPlan) -> dict[str, Callable[[], Any]]:
    """Return the questions whether AWS would let us do it: what is there already is named, what is not is left out."""
    named = desk.settings.aws
    launch = partial(run_instances.check, desk.clients, made, key_name=named.key_name, group_id=named.security_group_id)
    asks: dict[str, Callable[[], Any]] = {PERMISSIONS: launch}
    if not named.key_name:
        asks["key pair"] = lambda: key_pairs.check(
            desk.clients, made.cluster_id, desk.key_pair(), existing_names=made.existing_names
        )
    if not named.security_group_id:
        access = security_groups.SshAccess(made.placement.vpc_id, desk.settings.ssh.port, made.ssh_sources)
        asks["security group"] = lambda: security_groups.check(desk.clients, made.cluster_id, access)
    return asks


def _after_profile_propagates(
    desk: PreflightContext, made: launch_plan.LaunchPlan, error: Exception | None
) -> Exception | None:
    """Wait for an instance profile that EC2 has not heard of yet, and return what speaks against the launch then."""
    if not isinstance(error, CloudRefused) or not instance_profiles.is_propagating(
        desk.clients, made.instance_profile, error
    ):
        return error
    desk.on_event(Event("", "request", "progress", text=f"waiting for EC2 to hear of {made.instance_profile}"))
    last: CloudRefused | None = error
    for _ in desk.clock.attempts(instance_profiles.PROPAGATION_S, BACKOFF):
        last = _refusal(_second_round(desk, made)[PERMISSIONS])
        if last is None or not instance_profiles.is_unknown_profile(last.code, last.message):
            break
    return last


def _refusal(ask: Callable[[], Any]) -> CloudRefused | None:
    try:
        ask()
    except CloudRefused as error:
        return error
    return None


def _blocking(error: Exception | None) -> Exception | None:
    """Return an error of a question that a launch can do without, if it speaks against the launch all the same."""
    if isinstance(error, UsageError) or (error is not None and not isinstance(error, StratusError)):
        return error
    if isinstance(error, CloudRefused):
        # Throttling, capacity and trouble of AWS's own pass; the launch itself copes with them.
        return error if error_codes.look_up(error.code, error.message).reaction == "user_error" else None
    return error if error is not None and not isinstance(error, parallel.TimedOut) and error.fix else None


def _raise_problems(found: list[Exception]) -> None:
    for each in found:
        if not isinstance(each, StratusError):
            raise each
    NotReady.raise_if_any([each for each in found if isinstance(each, StratusError)])


def _limit(
    desk: PreflightContext, made: launch_plan.LaunchPlan, limit: quotas.QuotaUsage | None
) -> quotas.QuotaUsage | None:
    """Return what the launch needs of its quota.

    :raises CloudRefused: none of the pools that it may come from has room.
    """
    if limit is None:
        return None
    needed = made.vcpus * made.count
    limit = replace(limit, needed=needed)
    if limit.shortfall and not _room_elsewhere(desk, made, limit):
        limit.check(made.instance_type, made.region)
    return limit


def _room_elsewhere(desk: PreflightContext, made: launch_plan.LaunchPlan, limit: quotas.QuotaUsage) -> bool:
    others = {quotas.quota_for(pool.type_info.name, pool.market): pool for pool in made.pools}
    for quota, pool in others.items():
        if quota == limit.quota:
            continue
        vcpus = pool.type_info.vcpus * made.count
        if not quotas.query(desk.clients, pool.type_info.name, vcpus, market=pool.market).shortfall:
            return True
    return False


def _notes(answers: Mapping[str, parallel.Result[Any]], more: Checks) -> tuple[str, ...]:
    """Return what could not be found out about the job, in a line each."""
    return tuple(str(answers[name].value) for name in more if answers[name].value)
