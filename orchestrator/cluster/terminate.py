"""TerminateAll: everything of a cluster in its own region, and in the other regions that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from orchestrator.aws.ec2 import host_names, key_pairs, network, security_groups
from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S, Instance, describe_all
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.identity import ClusterId, named_cluster_id
from orchestrator.aws.launch import launch_log
from orchestrator.aws.launch.launch_log import REQUEST_LIFETIME_S
from orchestrator.aws.managed.resources import NOTHING_ENDED, ManagedEndReport
from orchestrator.aws.storage.unfinished import open_uploads
from orchestrator.cluster import elsewhere
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.cluster.inventory import Inventory, SameRoleOwner, Survey
from orchestrator.cluster.teardown import DELETED, GROUP_TIMEOUT_S, KEPT, NONE, RegionTeardown
from orchestrator.core.clock import Backoff
from orchestrator.core.cost import Amount
from orchestrator.core.errors import StratusError, UsageError, first_line
from orchestrator.core.events import Event
from orchestrator.core.file_lock import AlreadyLocked, LockUnavailable
from orchestrator.core.next_step import NextStep, Text

LOCK_TIMEOUT_S = 120.0
"""How long another shell, whose instances were just terminated, may take to give up its launch."""

LOCK_BACKOFF = Backoff(first_s=1.0, longest_s=5.0)


@dataclass(frozen=True)
class TerminateReport:
    """Outcome of TerminateAll.

    :param group_state: ``gone``, ``none`` (the cluster has none) or why it remains.
    :param key_state: the same for the key pair.
    :param spent: cost of the instances since their launch, those of the same launches that ended before included.
    :param unconfirmed: what may still exist, and what remains in other regions.
    :param caveat: why there may be instances although none was found; empty if there is no reason.
    :param other_owners: instances of other owners in a cluster of this name; they are never touched.
    :param untouched: names of the cluster's instances that were not to be terminated; its security group and key pair
        stay for them.
    :param not_fetched: ids of runs on the terminated instances whose results were not fetched, as far as this computer
        knows.
    :param started_in: run id -> folder, of those that were started in another folder than the present one.
    :param same_role: what was launched with the caller's role, but not as this owner; it is never touched unasked.
    :param unfinished_uploads: S3 URLs of uploads that this computer began and did not complete: their parts are billed.
    :param may_be_own: True if nothing on this computer tells whether some of that is the caller's.
    :param managed: what SageMaker billed for the cluster besides.
    """

    instances: tuple[InstanceResult, ...]
    group_state: str
    key_state: str
    spent: Amount
    unconfirmed: tuple[Text, ...] = ()
    caveat: str = ""
    other_owners: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    elsewhere: tuple[OtherCluster, ...] = ()
    not_fetched: tuple[str, ...] = ()
    same_role: tuple[SameRoleOwner, ...] = ()
    may_be_own: bool = False
    started_in: Mapping[str, str] = field(default_factory=dict)
    unfinished_uploads: tuple[str, ...] = ()
    managed: ManagedEndReport = NOTHING_ENDED

    @property
    def terminated_ids(self) -> tuple[str, ...]:
        """Ids of the instances that are terminated."""
        return tuple(result.id for result in self.instances if result.state == "terminated")

    @property
    def spent_usd(self) -> Decimal | None:
        """USD since the launch; None if it is not known exactly."""
        return self.spent.exact

    @property
    def remaining(self) -> tuple[Text, ...]:
        """Everything that still exists, or may, in a line each."""
        instances = [
            f"{result.id} {result.name}: {result.error or result.state}"
            for result in self.instances
            if result.state != "terminated"
        ]
        resources = () if self.untouched else tuple(_resources(self.group_state, self.key_state))
        same_role = map(_same_role, self.same_role) if self.may_be_own else ()
        others = (*self.unconfirmed, *self.managed.remaining, *map(_elsewhere, self.elsewhere), *same_role)
        return (*instances, *resources, *others)


class Terminator:
    """Terminates everything of one cluster, in all regions.

    :param on_requested: called once, when EC2 was requested to terminate the instances of the cluster's own region, and
        before that has happened; also if EC2 refused.
    """

    def __init__(self, inventory: Inventory, on_requested: Callable[[], None] = lambda: None) -> None:
        self.inventory = inventory
        self.on_requested = on_requested
        self.context = inventory.context
        self._unconfirmed: list[Text] = []

    def terminate_all(self, *, everywhere: bool) -> TerminateReport:
        """Terminate instances, delete security group and key pair; what remains, or may, is in the report.

        :param everywhere: also everything that this computer launched under other settings.
        """
        # Without a journal, a launch from another computer in the last seconds cannot be told from none.
        is_new_computer = self.context.journal.is_empty
        earlier = launch_log.earlier_cluster_ids(self.context.launch_log)
        own = self._terminate_own_region()
        self._delete_earlier_groups_and_keys(own, earlier)
        others = [*self._terminate_other_regions(), *(self._terminate_other_clusters() if everywhere else ())]
        self._note_journal(own)
        if problem := self.context.owner_id_problem:
            self._warn(problem)
        seen = [instance for teardown in (own, *others) for instance in teardown.instances.values()]
        survey = self._survey()
        # A computer that has launched something has it in its journal, and the rest is not its own.
        is_record_missing = is_new_computer or bool(self.context.owner_id_problem)
        may_be_own = is_record_missing and not self.context.settings.cluster.owner_id
        if may_be_own:
            self._note_groups_of_same_role(survey.same_role)
        return TerminateReport(
            instances=tuple(result for teardown in (own, *others) for result in teardown.results.values()),
            group_state=own.group_state,
            key_state=own.key_state,
            spent=self._spent((own, *others), survey.ended),
            unconfirmed=tuple(self._all_unconfirmed(own, others)),
            caveat=_caveat() if is_new_computer and not seen and own.group_state == NONE else "",
            other_owners=survey.other_owners,
            elsewhere=elsewhere.find(self.context),
            same_role=survey.same_role,
            may_be_own=may_be_own,
            unfinished_uploads=open_uploads(self.context.journal),
        )

    def terminate_owner(self, owner: str) -> TerminateReport:
        """Terminate everything of another owner in a cluster of this name, in the same regions.

        :param owner: an owner id, an ARN or a name.
        :raises UsageError: the owner has nothing there.
        """
        context = self.context
        cluster_id = named_cluster_id(context.cluster_id, owner)
        regions = [cluster_id.region, *self._other_regions()]
        self._check_exists(cluster_id, regions)
        teardowns = [self._teardown_of(replace(cluster_id, region=region)) for region in regions]
        for teardown in teardowns:
            teardown.run()
        own, *others = teardowns
        survey = self._survey()
        return TerminateReport(
            instances=tuple(result for teardown in teardowns for result in teardown.results.values()),
            group_state=own.group_state,
            key_state=own.key_state,
            spent=self._spent(teardowns, ()),
            unconfirmed=tuple(self._all_unconfirmed(own, others)),
            other_owners=survey.other_owners,
            same_role=survey.same_role,
        )

    def _check_exists(self, cluster_id: ClusterId, regions: Sequence[str]) -> None:
        """Check that an owner who was named has instances: a wrong name must not look like an empty cluster.

        :raises UsageError: there is none, in any of the regions.
        """
        for region in regions:
            clients = elsewhere.clients_of(self.context, replace(cluster_id, region=region))
            present = describe_all(clients, cluster=cluster_id.cluster)
            if any(cluster_id.owns(instance.owner, instance.owner_id) for instance in present):
                return
            if security_groups.own_groups(clients, cluster_id):
                return  # of instances that EC2 does not show yet
        owners = sorted({instance.owner_id or instance.owner for instance in present} - {""})
        listed = f"VMs there are of: {', '.join(owners)}" if owners else NextStep("Status") + "  shows what there is"
        where = f"cluster {cluster_id.cluster} in {cluster_id.region}"
        raise UsageError(f"{cluster_id.owner} has no VM in {where}", fix=listed)

    def _delete_earlier_groups_and_keys(self, own: RegionTeardown, earlier: Sequence[ClusterId]) -> None:
        """Delete what sessions of this computer with other ARNs needed for their instances, which are terminated."""
        if own.remaining:
            return
        for cluster_id in earlier:
            teardown = self._teardown_of(cluster_id)
            teardown.delete_group_and_key(GROUP_TIMEOUT_S)
            # Another user of the same role may need both: versions without an owner id shared them.
            for resource in _resources(teardown.group_state, teardown.key_state):
                self._warn(f"{cluster_id.resource_name}: {resource}")

    def terminate_launch(self, launch_id: str) -> TerminateReport:
        """Terminate the instances of one launch, and nothing that other launches use.

        The security group and the key pair are deleted if no other instance of the cluster exists.
        """
        teardown = self._teardown(self.context.cluster_id.region)
        others: tuple[str, ...] = ()
        try:
            teardown.run_launch(launch_id)
            others = self._delete_unused(teardown)
        except StratusError as error:
            teardown.group_state = teardown.key_state = KEPT
            self._unconfirmed.append(f"launch {launch_id}: {first_line(error)}")
        return TerminateReport(
            instances=tuple(teardown.results.values()),
            group_state=teardown.group_state,
            key_state=teardown.key_state,
            spent=self._spent((teardown,), self._survey().ended),
            unconfirmed=tuple(self._unconfirmed),
            untouched=others,
        )

    def _delete_unused(self, teardown: RegionTeardown) -> tuple[str, ...]:
        """Delete security group and key pair; return the names of the instances that they are kept for, if any."""
        teardown.group_state = teardown.key_state = KEPT
        if teardown.remaining:
            return ()
        try:
            # Under the lock: a launch that another process begins now would use both.
            with self.context.lock():
                # Of other launches, also those that EC2 may not show yet.
                others = {instance.name for instance in self.inventory.instances() if instance.is_alive}
                others |= teardown.launch_log.reserved_names()
                if not others:
                    teardown.delete_group_and_key(GROUP_TIMEOUT_S)
        except (AlreadyLocked, LockUnavailable) as error:
            return (error.message,)
        return tuple(sorted(others, key=host_names.sort_key))

    def _all_unconfirmed(self, own: RegionTeardown, others: Sequence[RegionTeardown]) -> Iterator[Text]:
        yield from self._unconfirmed
        for teardown in (own, *others):
            yield from teardown.unconfirmed
        for teardown in others:
            region = teardown.launch_log.cluster_id.region
            yield from _resources(teardown.group_state, teardown.key_state, where=f" in {region}")

    def _terminate_own_region(self) -> RegionTeardown:
        """Terminate everything in the cluster's own region.

        The lock belongs to a launch that is in progress in another process: it fails once its instances are
        terminated, and then releases the lock. Only a run under the lock can be complete.
        """
        teardown = replace(self._teardown(self.context.cluster_id.region), on_requested=self.on_requested)
        for waited_s in self.context.clock.attempts(LOCK_TIMEOUT_S, LOCK_BACKOFF):
            try:
                with self.context.lock():
                    teardown.run()
                    return teardown
            except LockUnavailable as error:
                # Terminating needs nothing of this computer: the tags say what there is.
                self._warn(first_line(error))
                teardown.run()
                return teardown
            except AlreadyLocked as error:
                holder = error.message
                if not waited_s:
                    teardown.run()
                    self._warn(f"{holder}; waiting for it to stop")
        self._unconfirmed.append(f"{holder}: what it launches from now on remains")
        return teardown

    def _note_journal(self, own: RegionTeardown) -> None:
        """Report what the journal could not tell, or not keep."""
        journal = self.context.journal
        for problem in (journal.read_problem, journal.write_problem):
            if problem:
                self._warn(problem)
        # A security group that could be deleted proves that no instance is left, with or without a journal.
        if journal.read_problem and own.group_state == NONE:
            lag_minutes = (REQUEST_LIFETIME_S + VISIBILITY_LAG_S) / 60
            self._unconfirmed.append(
                f"{journal.read_problem}: what this computer launched in the last {lag_minutes:.0f} min may not be "
                "visible yet; after that, remove the file"
            )

    def _note_groups_of_same_role(self, listed: Sequence[SameRoleOwner]) -> None:
        """Report groups of the caller's role without any instance: EC2 may not show their instances yet."""
        try:
            groups = security_groups.of_same_role(self.context.clients, self.context.cluster_id)
        except StratusError as error:
            self._warn(first_line(error))
            return
        owners = {owner.owner for owner in listed}
        for owner, group_id in groups.items():
            if owner not in owners:
                end = NextStep("TerminateAll", owner=owner)
                text = f"{group_id}: security group made with your role; its VMs may not be visible yet; "
                self._unconfirmed.append(text + end + " terminates them")

    def _terminate_other_clusters(self) -> Iterator[RegionTeardown]:
        """Terminate what this computer launched under other settings, as far as these credentials can."""
        for other in elsewhere.find(self.context):
            if other.cluster_id.account != self.context.cluster_id.account:
                continue
            teardown = self._teardown_of(other.cluster_id)
            try:
                with self.context.lock(other.cluster_id):
                    teardown.run()
            except LockUnavailable:
                teardown.run()
            except AlreadyLocked as error:
                # What is there is terminated; the launch in progress fails, and rolls back.
                teardown.run()
                self._unconfirmed.append(f"{error.message}: what it launches from now on remains")
            yield teardown

    def _terminate_other_regions(self) -> Iterator[RegionTeardown]:
        for region in self._other_regions():
            teardown = self._teardown(region)
            teardown.run()
            yield teardown

    def _teardown(self, region: str) -> RegionTeardown:
        return self._teardown_of(replace(self.context.cluster_id, region=region))

    def _teardown_of(self, cluster_id: ClusterId) -> RegionTeardown:
        context = self.context
        clients = elsewhere.clients_of(context, cluster_id)
        # The cluster's own key pair, whatever key the settings name now: only that one is Stratus's to delete.
        key_pair = key_pairs.own_key_pair(cluster_id, home=context.home)
        return RegionTeardown(
            clients,
            replace(context.launch_log, cluster_id=cluster_id),
            partial(key_pairs.delete, clients, cluster_id, key_pair, on_problem=self._warn),
            on_event=context.on_event,
            user_group_id=context.settings.aws.security_group_id,
        )

    def _other_regions(self) -> list[str]:
        """Return the regions of the setting ``terminate_regions`` besides the cluster's own."""
        wanted = self.context.settings.aws.terminate_regions
        try:
            regions = network.list_regions(self.context.clients) if wanted == "all" else _listed(wanted)
        except StratusError as error:
            self._unconfirmed.append(f"other regions: {first_line(error)}")
            return []
        return [region for region in regions if region != self.context.cluster_id.region]

    def _survey(self) -> Survey:
        try:
            return self.inventory.survey()
        except StratusError as error:
            self._warn(f"VMs of other owners were not looked up: {first_line(error)}")
            return Survey([], [], ())

    def _spent(self, teardowns: Sequence[RegionTeardown], ended_before: Sequence[Instance]) -> Amount:
        """Return the cost of everything that was found, and record that of the instances that ended."""
        meter, now = self.inventory.meter, self.context.clock.now()
        ended = {key: pair for teardown in teardowns for key, pair in teardown.ended.items()}
        # As they were before: their last change of state hides how long they were running.
        instances = [
            ended[key][0] if key in ended else instance
            for teardown in teardowns
            for key, instance in teardown.instances.items()
        ]
        self.inventory.refresh_spot_prices(instances)
        costs = meter.costs(instances, now, {key: at for key, (_, at) in ended.items()})
        before = meter.cost_of_ended(instances, ended_before, now)
        meter.record_ended(costs, [instance for instance, _ in ended.values()])
        return sum(costs.values(), before)

    def _warn(self, text: str) -> None:
        self.context.on_event(Event("", "terminate", "warning", text=text))


def _listed(names: str) -> list[str]:
    return names.replace(",", " ").split()


def _caveat() -> str:
    return (
        f"Nothing found. A launch made from another computer in the last {VISIBILITY_LAG_S:.0f} s may not be visible "
        "yet."
    )


def _elsewhere(other: OtherCluster) -> str:
    """Return a line on instances of other settings, which nothing has asked to terminate."""
    return f"{other.summary}: launched from this computer under other settings"


def _same_role(owner: SameRoleOwner) -> str:
    """Return a line on instances of the caller's role, on a computer that cannot tell whether it launched them."""
    return f"{owner.summary}: launched with your role, and this computer has no record of its launches"


def _resources(group_state: str, key_state: str, where: str = "") -> Iterator[str]:
    """Yield the security group and the key pair that remain, in a line each."""
    for resource, state in (("security group", group_state), ("key pair", key_state)):
        if state not in (DELETED, NONE):
            yield f"{resource}{where}: {state}"
