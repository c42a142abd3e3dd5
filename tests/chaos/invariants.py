"""What must hold in every life, whatever goes wrong; looked at around every call and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos.random_plan import OTHER_OWNER

if TYPE_CHECKING:
    from localcloud.simulation.cloud import InMemoryCloud, LiveInstance

TAG_RUN, TAG_OWNER, TAG_CLUSTER = "stratus:run", "stratus:owner", "stratus:cluster"
US = "arn:aws:iam::123456789012:user/researcher"
LASTING = ("pending", "running", "stopping", "stopped")
CHANGES = ("Terminate", "Stop", "Start", "Delete", "Create", "Modify", "Import", "Authorize", "Revoke", "Run", "Reboot")


@dataclass
class Things:
    """Everything in an account that somebody could have made, by its id or name."""

    machines: dict[str, tuple[str, tuple[tuple[str, str], ...]]]
    groups: dict[str, Any]
    keys: dict[str, Any]


def things(cloud: InMemoryCloud, *, ours: bool) -> Things:
    """Look at what is ours, or at what is somebody else's, behind the API: no fault strikes here."""
    machines = {
        each.id: (each.state, tuple(sorted(each.tags.items())))
        for each in cloud.live_instances()
        if (each.tags.get(TAG_OWNER) == US) == ours
    }
    backend = _backend()
    groups = {group.id: group for by_id in backend.groups.values() for group in by_id.values()}
    keys = backend.key_pairs.values()
    return Things(
        machines,
        {
            name: sorted(str(vars(rule)) for rule in group.ingress_rules)
            for name, group in groups.items()
            if (backend.tags.get(name, {}).get(TAG_OWNER) == US) == ours
        },
        {key.key_name: key.id for key in keys if (backend.tags.get(key.id, {}).get(TAG_OWNER) == US) == ours},
    )


def protected(instance_id: str) -> bool:
    """Whether a machine has termination protection."""
    found: Any = _backend().get_instance(instance_id)
    return bool(found.disable_api_termination)


def _backend() -> Any:
    from moto.ec2.models import ec2_backends

    backends: Any = ec2_backends
    return backends["123456789012"]["us-west-2"]


@dataclass
class Watch:
    """Sees every call, and writes down what must not be.

    :param wanted: launch -> how many machines it may have.
    :param broken: what did not hold, in words.
    """

    cloud: InMemoryCloud
    wanted: dict[str, int] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    most: int = 0
    journal: Path | None = None
    _seen: bytes = b""
    _tokens: list[str] = field(default_factory=list)

    def sent(self, action: str, params: dict[str, Any]) -> None:
        """A request is about to be made."""
        if action == "RunInstances" and not params.get("DryRun"):
            self._tokens.append(str(params.get("ClientToken", "")))
        if action.startswith(CHANGES) or action == "CreateTags":
            touched = self.foreign & set(_strings(params))
            if touched:
                self.break_(f"{action} names what is somebody else's: {', '.join(sorted(touched))}")

    def look(self) -> None:
        """Look at the account and at the journal."""
        self._count()
        self._read()

    def new_home(self, home: Path) -> None:
        """From now on the journal is another one: a copy, or a new one."""
        self.journal = home / "journal.jsonl"
        self._seen = self.journal.read_bytes() if self.journal.exists() else b""

    def break_(self, what: str) -> None:
        """Write down what must not be; once."""
        if what not in self.broken:
            self.broken.append(what)

    def _count(self) -> None:
        lasting = [
            each for each in self.cloud.live_instances() if each.state in LASTING and each.tags.get(TAG_OWNER) == US
        ]
        for run, number in Counter(each.tags.get(TAG_RUN, "") for each in lasting).items():
            if number > self.wanted.get(run, 0):
                self.break_(f"{number} machines of launch {run}, {self.wanted.get(run, 0)} were wanted")
        self.most = max(self.most, len(lasting))

    def _read(self) -> None:
        now = self.journal.read_bytes() if self.journal and self.journal.exists() else b""
        if not now.startswith(self._seen):
            self.break_("the journal lost what it said")
        self._seen = now
        lost = [token for token in self._tokens if token.encode() not in now]
        self._tokens.clear()
        if lost:
            self.break_(f"RunInstances with token {lost[0][:8]}, which was not in the journal")


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)


def foreign_names(them: Things) -> set[str]:
    """Everything by which a request could mean what is somebody else's."""
    return {*them.machines, *them.groups, *them.keys, *them.keys.values(), OTHER_OWNER}


def orphans(cloud: InMemoryCloud) -> list[LiveInstance]:
    """Our machines that have not ended."""
    return [each for each in cloud.live_instances() if each.tags.get(TAG_OWNER) == US]
