"""Checks before a launch: everything that can be known in advance, all problems at once; nothing is changed.

Two rounds of lookups, each in parallel: first what the settings name, then whether AWS would allow the launch planned
from it. Lookups whose result a launch does not depend on (prices, quota, the job's data) have short timeouts: without
an answer the value is unknown, and the launch goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.aws import error_codes, parallel
from orchestrator.aws.capacity import quotas
from orchestrator.aws.capacity.pools import SPOT
from orchestrator.aws.capacity.quotas import QuotaUsage
from orchestrator.aws.ec2 import instance_profiles, key_pairs, security_groups
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.ingress.access import SshAccess, ssh_access
from orchestrator.aws.launch import planner, run_instances
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.machines import baked_images, coupling, placement_groups, reservations
from orchestrator.aws.machines.reservations import Reservation
from orchestrator.aws.parallel import Result, TimedOut
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, NotReady, StratusError, UsageError
from orchestrator.core.events import Event
from orchestrator.ssh.via import check_programs

QUOTA_TIMEOUT_S = 4.0
"""Longer than for other optional lookups: a quota that is too small is best found out before the launch."""

CHECK_TIMEOUT_S = 20.0
"""For dry runs: without them the launch fails too, but after it has created a security group or key pair."""

REQUIRED_TIMEOUT_S = 150.0
"""For lookups that a plan depends on; eight attempts of a throttled call can take almost that long."""

BACKOFF = Backoff(first_s=1.0, longest_s=5.0)

ADDRESS, GROUP, KEY_PAIR, PERMISSIONS, QUOTA = "address", "user group", "key pair", "permissions", "quota"
INSTALL_DIGEST = "install digest"
"""Among the checks of a job: the digest of its environment, by which baked images are found."""

BAKED_IMAGES, RESERVATION = "baked images", "capacity reservation"
JOB = "job"
"""Among the checks of a job: the one whose text says that the job cannot be installed."""

Checks = Mapping[str, Callable[[], Any]]
"""Name -> lookup; it returns a result, or raises what speaks against the launch."""

Results = Mapping[str, Result[Any]]


def plan(context: ClusterContext, count: int, job_checks: Checks, replaced: Sequence[Instance] = ()) -> LaunchPlan:
    """Look up and check everything that a launch needs.

    :param count: how many instances.
    :param job_checks: checks of the job; a text that one returns becomes a warning of the plan.
    :param replaced: instances that are terminated before: their quota and capacity count as free.
    :raises StratusError: one problem prevents the launch.
    :raises NotReady: several problems do; it holds them all.
    """
    return Preflight(context, job_checks, replaced).plan(count)


@dataclass(frozen=True)
class Preflight:
    """The checks of one launch; see :func:`plan`."""

    context: ClusterContext
    job_checks: Checks
    replaced: Sequence[Instance] = ()

    def plan(self, count: int) -> LaunchPlan:
        """Return the plan of a launch."""
        context = self.context
        required = planner.lookups(context.clients, context.settings, context.ownership)
        wanted = context.settings.vms.capacity_reservation
        more = {RESERVATION: lambda: self._reservation(wanted)} if wanted else {}
        results = self._first_round({**required, **more})
        needed = {*required, *more}
        problems = [_blocking(result.error, is_required=name in needed) for name, result in results.items()]
        problems.append(_owner_problem(context))
        launch_plan: LaunchPlan | None = None
        # Without one of the required results there is no plan that a second round could check.
        if not any(results[name].error for name in needed):
            values: list[Any] = [results[name].value for name in required]
            lookups = planner.LookupResults(context.cluster_id, *values)
            reservation = results[RESERVATION].value if RESERVATION in results else None
            lookups = replace(lookups, baked=self._baked(results), reservation=reservation)
            launch_plan, others = self._build(lookups, count, results[ADDRESS].value)
            problems += others
        _raise_problems([problem for problem in problems if problem is not None])
        assert launch_plan is not None  # otherwise there was a problem, which is raised by now
        checks = [*(name for name in self.job_checks if name != INSTALL_DIGEST), GROUP]
        warnings = tuple(str(results[name].value) for name in checks if name in results and results[name].value)
        warnings = (*launch_plan.warnings, *warnings)
        quota = self._check_quota(launch_plan, results[QUOTA].value)
        return replace(launch_plan, quota=quota, warnings=warnings, is_job_ready=not _has_text(results, JOB))

    # -- the first round: what the settings name

    def _reservation(self, reservation_id: str) -> Reservation:
        reservation = reservations.find(self.context.clients, reservation_id)
        pool = reservation.type, reservation.zone
        freed = sum((item.type, item.zone) == pool for item in self.replaced)
        return replace(reservation, available=min(reservation.total, reservation.available + freed))

    def _first_round(self, required: Checks) -> Results:
        optional_timeout_s = self.context.runtime.optional_timeout_s
        return parallel.gather(
            self.context.clients,
            {**required, **self._optional_lookups(), **self.job_checks},
            timeout_s=optional_timeout_s,
            longer_timeouts_s={
                KEY_PAIR: CHECK_TIMEOUT_S,
                GROUP: CHECK_TIMEOUT_S,
                QUOTA: max(QUOTA_TIMEOUT_S, optional_timeout_s),
                **dict.fromkeys(required, REQUIRED_TIMEOUT_S),
            },
        )

    def _optional_lookups(self) -> dict[str, Callable[[], Any]]:
        context, wanted = self.context, self.context.settings.cluster
        types, disks = planner.priced_types(context.settings)
        lookups: dict[str, Callable[[], Any]] = {
            "prices": lambda: context.prices.refresh(types, disks),
            QUOTA: lambda: quotas.query(context.clients, wanted.instance_type, 0, market=wanted.market),
            ADDRESS: lambda: ssh_access(context.settings, ""),
        }
        if INSTALL_DIGEST in self.job_checks and context.settings.vms.baked_images:
            lookups[BAKED_IMAGES] = lambda: baked_images.find_images(context.clients, context.cluster_id)
        if via := context.settings.ssh.via:
            lookups["way to the VMs"] = lambda: check_programs(via)
        if context.settings.aws.security_group_id:
            lookups[GROUP] = lambda: security_groups.check_user_group(context.clients, context.settings)
        if wanted.market == SPOT:
            lookups["spot"] = lambda: context.prices.refresh_spot(types)
        # The user's own key pair only: the cluster's own is checked with the plan, as it has to fit its instances.
        if context.settings.aws.key_name:
            lookups[KEY_PAIR] = lambda: key_pairs.check(context.clients, context.cluster_id, context.key_pair)
        return lookups

    def _baked(self, results: Results) -> planner.BakedChoice:
        # Without an answer the launch takes the image of the settings: it installs then.
        images = results[BAKED_IMAGES].value if BAKED_IMAGES in results else None
        digest = results[INSTALL_DIGEST].value if INSTALL_DIGEST in results else None
        return planner.BakedChoice(tuple(images or ()), str(digest or ""))

    # -- the second round: whether AWS would allow the plan

    def _build(
        self, lookups: planner.LookupResults, count: int, access: SshAccess | None
    ) -> tuple[LaunchPlan | None, list[Exception | None]]:
        """Return the plan, if one can be made, and what speaks against it."""
        context = self.context
        try:
            built = planner.build_plan(
                context.clients,
                context.settings,
                lookups,
                count=count,
                launch_log=context.launch_log,
                prices=context.prices,
            )
        except StratusError as error:
            return None, [error]
        # Without this computer's address, it is left to the launch.
        launch_plan = replace(built, ssh_sources=access.sources, open_ports=access.open_ports) if access else built
        results = parallel.gather(context.clients, self._dry_runs(launch_plan), timeout_s=CHECK_TIMEOUT_S)
        errors = [result.error for name, result in results.items() if name != PERMISSIONS]
        errors.append(self._after_profile_propagates(launch_plan, results[PERMISSIONS].error))
        return launch_plan, [_blocking(error) for error in errors]

    def _dry_runs(self, launch_plan: LaunchPlan) -> dict[str, Callable[[], Any]]:
        """Return the checks that AWS would allow the plan."""
        # A group or key pair that the launch is going to create cannot be named in a dry run: EC2 would refuse it.
        clients, settings = self.context.clients, self.context.settings
        key_name, group_id = settings.aws.key_name, settings.aws.security_group_id
        checks: dict[str, Callable[[], Any]] = {
            PERMISSIONS: partial(run_instances.check, clients, launch_plan, key_name=key_name, group_id=group_id)
        }
        if not key_name:
            checks[KEY_PAIR] = lambda: key_pairs.check(
                clients, launch_plan.cluster_id, self.context.key_pair, existing_names=launch_plan.names_of_key
            )
        if not group_id:
            access = SshAccess(
                launch_plan.placement.vpc_id,
                settings.ssh.port,
                launch_plan.ssh_sources,
                open_ports=launch_plan.open_ports,
            )
            checks["security group"] = partial(security_groups.check, clients, launch_plan.cluster_id, access)
        if launch_plan.is_clustered:
            checks["placement group"] = partial(placement_groups.check, clients, launch_plan.cluster_id)
        if launch_plan.has_efa and group_id:
            checks["EFA"] = partial(coupling.check_user_group, clients, group_id)
        return checks

    def _after_profile_propagates(self, launch_plan: LaunchPlan, error: Exception | None) -> Exception | None:
        """Wait for an instance profile that exists, but that EC2 does not accept yet; return the error that remains.

        IAM is eventually consistent: a new profile takes seconds until EC2 accepts it.
        """
        profile, clients = launch_plan.instance_profile, self.context.clients
        if not isinstance(error, CloudRefused) or not instance_profiles.is_propagating(clients, profile, error):
            return error
        text = f"waiting until EC2 accepts instance profile {profile}"
        self.context.on_event(Event("", "request", "progress", text=text))
        refusal: CloudRefused | None = error
        for _ in self.context.clock.attempts(instance_profiles.PROPAGATION_S, BACKOFF):
            refusal = _refusal(self._dry_runs(launch_plan)[PERMISSIONS])
            if refusal is None or not instance_profiles.is_unknown_profile(refusal.code, refusal.message):
                break
        return refusal

    # -- the quota

    def _check_quota(self, launch_plan: LaunchPlan, usage: QuotaUsage | None) -> QuotaUsage | None:
        """Return the quota with what the launch needs of it; None if it is unknown.

        :raises CloudRefused: no pool that the launch may use has enough.
        """
        if usage is None:
            return None
        freed = launch_plan.vcpus * sum(item.type == launch_plan.instance_type for item in self.replaced)
        in_use = None if usage.in_use is None else max(0, usage.in_use - freed)
        needed = replace(usage, needed=launch_plan.vcpus * launch_plan.count, in_use=in_use)
        if needed.shortfall and not self._fits_other_quota(launch_plan, needed):
            needed.check(launch_plan.instance_type, launch_plan.region)
        return needed

    def _fits_other_quota(self, launch_plan: LaunchPlan, usage: QuotaUsage) -> bool:
        """Return True if a pool that counts against another quota, such as that of spot instances, has enough."""
        by_quota = {quotas.quota_for(pool.type_info.name, pool.market): pool for pool in launch_plan.pools}
        by_quota.pop(usage.quota, None)
        return any(
            not quotas.query(
                self.context.clients,
                pool.type_info.name,
                pool.type_info.vcpus * launch_plan.count,
                market=pool.market,
            ).shortfall
            for pool in by_quota.values()
        )


def _has_text(results: Results, check: str) -> bool:
    return check in results and bool(results[check].value)


def _refusal(check: Callable[[], Any]) -> CloudRefused | None:
    try:
        check()
    except CloudRefused as error:
        return error
    return None


def _blocking(error: Exception | None, *, is_required: bool = False) -> Exception | None:
    """Return the error of a check if it speaks against the launch; None if the launch can do without the result.

    :param is_required: True for a lookup that the plan depends on.
    """
    if is_required or isinstance(error, UsageError) or not isinstance(error, StratusError):
        return error
    if isinstance(error, CloudRefused):
        # Throttling, missing capacity and errors of AWS itself may pass; the launch handles them.
        return error if error_codes.look_up(error.code, error.message).reaction == "user_error" else None
    return error if error.fix and not isinstance(error, TimedOut) else None


def _owner_problem(context: ClusterContext) -> Exception | None:
    """Return an error if instances would get no owner id although the caller is a role."""
    if not context.owner_id_problem:
        return None
    fix = "set [cluster] owner_id in the config; or make the file readable, or remove it"
    return UsageError(f"the owner id of this computer is missing: {context.owner_id_problem}", fix=fix)


def _raise_problems(problems: Iterable[Exception]) -> None:
    stratus_errors: list[StratusError] = []
    for problem in problems:
        if not isinstance(problem, StratusError):
            raise problem  # a bug, which must not be listed among the user's mistakes
        stratus_errors.append(problem)
    NotReady.raise_if_any(stratus_errors)
