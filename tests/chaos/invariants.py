"""Invariants of every run, whatever fails: checked around every API call and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localcloud.simulation.cloud import InMemoryCloud, LiveInstance
    from orchestrator.core.cost import Amount

TAG_RUN, TAG_OWNER, TAG_CLUSTER = "stratus:run", "stratus:owner", "stratus:cluster"
TAG_OWNER_ID = "stratus:ownerid"
ACCOUNT = "123456789012"
OUR_ARN = f"arn:aws:iam::{ACCOUNT}:user/researcher"
OTHER_ARN = f"arn:aws:iam::{ACCOUNT}:user/colleague"
SSO_ROLE, OUR_SESSION = "AWSReservedSSO_Lab_0123456789abcdef", "ada@example.org"
OUR_OWNERS = (OUR_ARN, "team", f"arn:aws:sts::{ACCOUNT}:assumed-role/{SSO_ROLE}/{OUR_SESSION}")
"""Our identities, and the owner that some runs enter in the settings."""

OUR_ROLE = "Lab"
ROLE_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/{OUR_ROLE}"
COLLEAGUE_ID = "c011ea90e000"
"""Role of some runs, whose sessions have changing names, and the owner id of a colleague who has it, too."""

REGIONS = ("us-west-2", "eu-west-1")
ACTIVE = ("pending", "running", "stopping", "stopped")
CHANGES = (
    *("Terminate", "Stop", "Start", "Delete", "Create", "Modify", "Import", "Authorize", "Revoke", "Run", "Reboot"),
    *("Attach", "Detach", "Deregister"),
)
CENT = Decimal("0.01")
MINUTE_USD = Decimal("0.41") / 60  # of the most expensive type that runs launch, with disk and address


@dataclass
class Resources:
    """Resources in an account.

    :param instances: id -> state and tags.
    :param groups: id -> rules of a security group.
    :param keys: name -> id of a key pair.
    :param owner_ids: tags ``stratus:ownerid`` of all of them.
    """

    instances: dict[str, tuple[str, tuple[tuple[str, str], ...]]]
    groups: dict[str, Any]
    keys: dict[str, Any]
    owner_ids: set[str] = field(default_factory=set)


def resources(cloud: InMemoryCloud, *, ours: bool) -> Resources:
    """Return our resources, or those of other owners, read behind the API, where no fault is injected."""
    instances = {
        instance.id: (instance.state, tuple(sorted(instance.tags.items())))
        for instance in cloud.live_instances()
        if is_ours(instance.tags) == ours
    }
    found = Resources(instances, {}, {})
    for backend in map(_backend, REGIONS):
        tags = backend.tags
        groups = [group for by_id in backend.groups.values() for group in by_id.values()]
        found.groups |= {
            group.id: sorted(str(vars(rule)) for rule in (*group.ingress_rules, *group.egress_rules))
            for group in groups
            if is_ours(tags.get(group.id, {})) == ours
        }
        found.keys |= {
            key.key_name: key.id for key in backend.key_pairs.values() if is_ours(tags.get(key.id, {})) == ours
        }
        tagged = [tags.get(id_, {}) for id_ in (*found.groups, *found.keys.values())]
        found.owner_ids |= {values[TAG_OWNER_ID] for values in tagged if TAG_OWNER_ID in values}
    found.owner_ids |= {value for _, tags in instances.values() for name, value in tags if name == TAG_OWNER_ID}
    return found


def is_ours(tags: Mapping[str, str]) -> bool:
    """Return True for the tags of a resource of the user: a colleague with our role has another owner id, or none."""
    owner, owner_id = tags.get(TAG_OWNER, ""), tags.get(TAG_OWNER_ID, "")
    return owner in OUR_OWNERS or (owner.startswith(ROLE_ARN) and owner_id not in ("", COLLEAGUE_ID))


def protected(instance_id: str) -> bool:
    """True if an instance has termination protection."""
    all_instances: list[Any] = [item for region in REGIONS for item in _backend(region).all_instances()]
    return any(item.id == instance_id and item.disable_api_termination for item in all_instances)


def instance_ids(region: str) -> set[str]:
    """Return the ids of all instances of a region."""
    return {item.id for item in _backend(region).all_instances()}


def default_group_id() -> str:
    """Return the id of a security group that is not ours, open to all: the default one of the default VPC."""
    backend = _backend(REGIONS[0])
    vpc = next(vpc for vpc in backend.vpcs.values() if vpc.is_default)
    group_id = next(str(group.id) for group in backend.groups[vpc.id].values() if group.name == "default")
    backend.authorize_security_group_ingress(group_id, "-1", None, None, [{"CidrIp": "0.0.0.0/0"}])
    return group_id


def _backend(region: str) -> Any:
    from moto.ec2.models import ec2_backends

    backends: Any = ec2_backends
    return backends[ACCOUNT][region]


@dataclass
class InvariantMonitor:
    """Checks every request, the account and the journal, and collects violations.

    :param max_instances: launch id -> number of instances requested.
    :param caps_usd: launch id -> its ``max_dollars``; 0 for none.
    :param foreign_ids: identifiers of other owners' resources, which no request may name.
    :param named_group_id: security group that the settings name.
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
    named_group_id: str = ""
    most_instances: int = 0
    receipts: int = 0
    journal: Path | None = None
    _journal_bytes: bytes = b""
    _tokens: list[str] = field(default_factory=list)

    def check_request(self, action: str, params: dict[str, Any]) -> None:
        """Check a request before it is sent."""
        if action == "RunInstances" and not params.get("DryRun"):
            self._tokens.append(str(params.get("ClientToken", "")))
        if action.startswith(CHANGES) or action == "CreateTags":
            touched = self.foreign_ids & set(_strings(params))
            # Instances have the user's own group; no other request may name it.
            touched -= {self.named_group_id} if action == "RunInstances" else set()
            if touched:
                self.report(f"{action} names a resource of another owner: {', '.join(sorted(touched))}")

    def check(self) -> None:
        """Check the account and the journal."""
        self._check_counts()
        self._check_journal()

    def check_receipt(self, launch_ids: Iterable[str], spent: Amount) -> None:
        """Check the cost of launches that were terminated against the cloud's own meter."""
        self.receipts += 1
        if spent.at_most is None:
            return  # the price of an instance that EC2 did not show is unknown
        billed = sum((self._billed_usd(launch_id) for launch_id in launch_ids), Decimal(0))
        pending_usd = MINUTE_USD / 60 * Decimal(self.pending_s)
        if not spent.at_least - pending_usd - CENT <= billed <= spent.at_most + CENT:
            self.report(f"the receipt is ${spent.at_least:.3f} to ${spent.at_most:.3f}, the bill ${billed:.3f}")

    def check_caps(self) -> Decimal:
        """Check that no launch cost more than its cap and one minute of its instances; return the dollars over."""
        over = Decimal(0)
        for launch_id, cap_usd in self.caps_usd.items():
            minute_usd = MINUTE_USD * self.max_instances[launch_id]
            billed = self._billed_usd(launch_id)
            if cap_usd and billed > Decimal(str(cap_usd)) + minute_usd:
                over += billed - Decimal(str(cap_usd)) - minute_usd
                self.report(f"launch {launch_id} cost ${billed:.3f}, its cap is ${cap_usd:g}")
        return over

    @property
    def billed_usd(self) -> Decimal:
        """The bill of all launches."""
        return sum(map(self._billed_usd, self.max_instances), Decimal(0))

    def _billed_usd(self, launch_id: str) -> Decimal:
        return self.cloud.meter.cost(TAG_RUN, launch_id) or Decimal(0)

    def set_home(self, home: Path) -> None:
        """Continue with the journal of another home folder."""
        self.journal = home / "journal.jsonl"
        self._journal_bytes = self.journal_bytes

    @property
    def journal_bytes(self) -> bytes:
        """Content of the journal; empty if there is none, or it cannot be read."""
        return self.journal.read_bytes() if self.journal and self.journal.is_file() else b""

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
        content = self.journal_bytes
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
    return {*foreign.instances, *foreign.groups, *foreign.keys, *foreign.keys.values(), OTHER_ARN, COLLEAGUE_ID}


def our_instances(cloud: InMemoryCloud) -> list[LiveInstance]:
    """Return our instances that are not terminated."""
    return [instance for instance in cloud.live_instances() if is_ours(instance.tags)]
