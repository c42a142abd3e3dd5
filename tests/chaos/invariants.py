"""Invariants of every run, whatever fails: checked around every API call and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localcloud.simulation.cloud import InMemoryCloud, LiveInstance
    from orchestrator.core.cost import Amount

TAG_RUN, TAG_OWNER, TAG_CLUSTER = "stratus:run", "stratus:owner", "stratus:cluster"
OUR_ARN = "arn:aws:iam::123456789012:user/researcher"
OTHER_ARN = "arn:aws:iam::123456789012:user/colleague"
ACTIVE = ("pending", "running", "stopping", "stopped")
CHANGES = ("Terminate", "Stop", "Start", "Delete", "Create", "Modify", "Import", "Authorize", "Revoke", "Run", "Reboot")
CENT = Decimal("0.01")
MINUTE_USD = Decimal("0.41") / 60  # of the most expensive type that runs launch, with disk and address


@dataclass
class Resources:
    """Resources in an account.

    :param instances: id -> state and tags.
    :param groups: id -> rules of a security group.
    :param keys: name -> id of a key pair.
    """

    instances: dict[str, tuple[str, tuple[tuple[str, str], ...]]]
    groups: dict[str, Any]
    keys: dict[str, Any]


def resources(cloud: InMemoryCloud, *, ours: bool) -> Resources:
    """Return our resources, or those of other owners, read behind the API, where no fault is injected."""
    instances = {
        instance.id: (instance.state, tuple(sorted(instance.tags.items())))
        for instance in cloud.live_instances()
        if (instance.tags.get(TAG_OWNER) == OUR_ARN) == ours
    }
    backend = _backend()
    groups = {group.id: group for by_id in backend.groups.values() for group in by_id.values()}
    keys = backend.key_pairs.values()
    return Resources(
        instances,
        {
            group_id: sorted(str(vars(rule)) for rule in group.ingress_rules)
            for group_id, group in groups.items()
            if (backend.tags.get(group_id, {}).get(TAG_OWNER) == OUR_ARN) == ours
        },
        {key.key_name: key.id for key in keys if (backend.tags.get(key.id, {}).get(TAG_OWNER) == OUR_ARN) == ours},
    )


def protected(instance_id: str) -> bool:
    """True if an instance has termination protection."""
    instance: Any = _backend().get_instance(instance_id)
    return bool(instance.disable_api_termination)


def _backend() -> Any:
    from moto.ec2.models import ec2_backends

    backends: Any = ec2_backends
    return backends["123456789012"]["us-west-2"]


@dataclass
class InvariantMonitor:
    """Checks every request, the account and the journal, and collects violations.

    :param max_instances: launch id -> number of instances requested.
    :param caps_usd: launch id -> its ``max_dollars``; 0 for none.
    :param foreign_ids: identifiers of other owners' resources, which no request may name.
    :param violations: one line each.
    :param pending_s: longest time that faults keep an instance pending: it counts as running if its launch was
        interrupted, because EC2 does not show when it began to run.
    """

    cloud: InMemoryCloud
    max_instances: dict[str, int] = field(default_factory=dict)
    caps_usd: dict[str, float] = field(default_factory=dict)
    foreign_ids: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    pending_s: float = 0.0
    most_instances: int = 0
    journal: Path | None = None
    _journal_bytes: bytes = b""
    _tokens: list[str] = field(default_factory=list)

    def check_request(self, action: str, params: dict[str, Any]) -> None:
        """Check a request before it is sent."""
        if action == "RunInstances" and not params.get("DryRun"):
            self._tokens.append(str(params.get("ClientToken", "")))
        if action.startswith(CHANGES) or action == "CreateTags":
            touched = self.foreign_ids & set(_strings(params))
            if touched:
                self.report(f"{action} names a resource of another owner: {', '.join(sorted(touched))}")

    def check(self) -> None:
        """Check the account and the journal."""
        self._check_counts()
        self._check_journal()

    def check_receipt(self, launch_ids: Iterable[str], spent: Amount) -> None:
        """Check the cost of launches that were terminated against the cloud's own meter."""
        if spent.at_most is None:
            return  # the price of an instance that EC2 did not show is unknown
        billed = sum((self._billed_usd(launch_id) for launch_id in launch_ids), Decimal(0))
        pending_usd = MINUTE_USD / 60 * Decimal(self.pending_s)
        if not spent.at_least - pending_usd - CENT <= billed <= spent.at_most + CENT:
            self.report(f"the receipt is ${spent.at_least:.3f} to ${spent.at_most:.3f}, the bill ${billed:.3f}")

    def check_caps(self) -> None:
        """Check that no launch cost more than its cap and one minute of its instances."""
        for launch_id, cap_usd in self.caps_usd.items():
            minute_usd = MINUTE_USD * self.max_instances[launch_id]
            billed = self._billed_usd(launch_id)
            if cap_usd and billed > Decimal(str(cap_usd)) + minute_usd:
                self.report(f"launch {launch_id} cost ${billed:.3f}, its cap is ${cap_usd:g}")

    def _billed_usd(self, launch_id: str) -> Decimal:
        return self.cloud.meter.cost(TAG_RUN, launch_id) or Decimal(0)

    def set_home(self, home: Path) -> None:
        """Continue with the journal of another home folder."""
        self.journal = home / "journal.jsonl"
        self._journal_bytes = self.journal.read_bytes() if self.journal.exists() else b""

    def report(self, violation: str) -> None:
        """Add a violation, unless it was reported before."""
        if violation not in self.violations:
            self.violations.append(violation)

    def _check_counts(self) -> None:
        active = [instance for instance in our_instances(self.cloud) if instance.state in ACTIVE]
        for launch_id, count in Counter(instance.tags.get(TAG_RUN, "") for instance in active).items():
            requested = self.max_instances.get(launch_id, 0)
            if count > requested:
                self.report(f"{count} instances of launch {launch_id}, {requested} requested")
        self.most_instances = max(self.most_instances, len(active))

    def _check_journal(self) -> None:
        content = self.journal.read_bytes() if self.journal and self.journal.exists() else b""
        if not content.startswith(self._journal_bytes):
            self.report("the journal lost entries")
        self._journal_bytes = content
        missing = [token for token in self._tokens if token.encode() not in content]
        self._tokens.clear()
        if missing:
            self.report(f"RunInstances with token {missing[0][:8]}, which was not in the journal")


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def identifiers(foreign: Resources) -> set[str]:
    """Return every identifier by which a request could name another owner's resource."""
    return {*foreign.instances, *foreign.groups, *foreign.keys, *foreign.keys.values(), OTHER_ARN}


def our_instances(cloud: InMemoryCloud) -> list[LiveInstance]:
    """Return our instances that are not terminated."""
    return [instance for instance in cloud.live_instances() if instance.tags.get(TAG_OWNER) == OUR_ARN]
