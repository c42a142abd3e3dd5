"""The kinds of faults that a scenario can bring: one table, from which files are read and the reference is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from localcloud.aws.quotas import BY_CODE
from localcloud.scenarios.schedule import Form, format_duration, parse_duration

Reader = Callable[[str], Any]


def text(value: str) -> str:
    """Any words."""
    return value


def whole_number(value: str) -> int:
    """A whole number, 0 or more."""
    if not value.isdigit():
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def decimal(value: str) -> float:
    """A number, 0 or more."""
    try:
        amount = float(value)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e6:
        raise ValueError(f"{value!r} is no number")
    return amount


def yes_no(value: str) -> bool:
    """``yes`` or ``no``."""
    if value not in ("yes", "no"):
        raise ValueError(f"{value!r} is neither yes nor no")
    return value == "yes"


def comma_list(value: str) -> tuple[str, ...]:
    """Words divided by commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def tags(value: str) -> tuple[tuple[str, str], ...]:
    """Tags ``key=value`` divided by commas."""
    found = []
    for word in comma_list(value):
        key, equals, content = word.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{word!r} is no tag: write key=value")
        found.append((key.strip(), content.strip()))
    return tuple(found)


@dataclass(frozen=True)
class Choice:
    """Reader that accepts one of several words."""

    words: tuple[str, ...]

    def __call__(self, value: str) -> str:
        """Return ``value``.

        :raises ValueError: it is not one of the words.
        """
        if value not in self.words:
            raise ValueError(f"{value!r} is none of {', '.join(self.words)}")
        return value


def choice(*words: str) -> Choice:
    """Return a reader that accepts one of ``words``."""
    return Choice(words)


@dataclass(frozen=True)
class Option:
    """What else a kind of fault can be told.

    :param default: None means that it must be given.
    """

    name: str
    read: Reader
    default: Any
    meaning: str


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    :param group: what it befalls; decides what ``when`` and ``where`` may say.
    :param options: its own; all kinds have ``when``, ``where``, ``times`` and ``chance``.
    """

    name: str
    group: str
    meaning: str
    options: tuple[Option, ...] = ()

    @property
    def forms(self) -> frozenset[Form]:
        """The forms of ``when`` that make sense."""
        return GROUPS[self.group].forms

    @property
    def aspects(self) -> frozenset[str]:
        """The aspects of ``where`` that make sense."""
        return GROUPS[self.group].aspects

    def option(self, name: str) -> Option | None:
        """The option of that name."""
        return next((option for option in self.options if option.name == name), None)


@dataclass(frozen=True)
class FaultGroup:
    """Kinds that befall the same things."""

    title: str
    forms: frozenset[Form]
    aspects: frozenset[str]
    description: str


_PERIODS: frozenset[Form] = frozenset(("always", "at", "window"))
_PLACES = frozenset(("region", "zone", "type", "market"))
GROUPS = {
    "call": FaultGroup(
        "API calls",
        _PERIODS | {"calls"},
        frozenset(("region",)),
        "`when` may count the calls that `action` means. Actions are named as AWS names them, with wildcards, and "
        "with their service where that matters: `RunInstances`, `Describe*`, `ssm:GetParameter`, `s3:*`.",
    ),
    "launch": FaultGroup(
        "Launches",
        _PERIODS,
        _PLACES | {"subnet"},
        "These are in force for as long as `when` says; `times` counts refusals.",
    ),
    "account": FaultGroup("The account", _PERIODS, frozenset(("region",)), "These belong to the account as a whole."),
    "machine": FaultGroup(
        "Machines, from their launch on",
        _PERIODS,
        _PLACES | {"host", "subnet"},
        "They befall machines that are launched while `when` holds; `times` counts machines, and `chance` is each "
        "machine's.",
    ),
    "moment": FaultGroup(
        "Machines, at some moment",
        frozenset(("always", "at", "after")),
        _PLACES | {"host", "subnet"},
        "They strike at the moment that `when` names, `at 40 s` or `40 s after launch`; without one, as soon as the "
        "machine runs.",
    ),
}

_ACTION = Option("action", comma_list, ("*",), "which calls, divided by commas")
_FOREVER = "; 0 means for ever"

CAPACITY_CODES = (
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "ReservationCapacityExceeded",
    "UnfulfillableCapacity",
)

KINDS: tuple[FaultKind, ...] = (
    FaultKind(
        "error",
        "call",
        "The call is answered with an error.",
        (
            Option("code", text, None, "AWS's code, such as `InternalError`"),
            Option("message", text, "", "the error's words; AWS's own where they are known"),
            Option("status", whole_number, 0, "the HTTP status; 0 means the one that belongs to the code"),
            _ACTION,
            Option("applied", yes_no, False, "whether the call was done all the same"),
        ),
    ),
    FaultKind(
        "dropped",
        "call",
        "The connection closes without an answer.",
        (_ACTION, Option("applied", yes_no, True, "whether the call was done before that")),
    ),
    FaultKind(
        "slow",
        "call",
        "The call is done at once, and its answer comes late.",
        (_ACTION, Option("seconds", parse_duration, 5.0, "how late")),
    ),
    FaultKind(
        "throttled",
        "call",
        "Calls beyond a rate are refused: `RequestLimitExceeded` from EC2, other services have their own words.",
        (
            _ACTION,
            Option("burst", whole_number, 0, "how many calls are free, if none came for long"),
            Option("rate", decimal, 0.0, "how many more are let through each second"),
        ),
    ),
    FaultKind(
        "denied",
        "call",
        "The caller lacks a permission: `UnauthorizedOperation` from EC2, also for a dry run.",
        (
            _ACTION,
            Option("by", choice("policy", "scp", "boundary"), "policy", "what denies it: no policy allows it, or"),
        ),
    ),
    FaultKind("bad-keys", "call", "The researcher's keys are not known.", (_ACTION,)),
    FaultKind("expired-keys", "call", "The researcher's session has expired.", (_ACTION,)),
    FaultKind(
        "clock-skew",
        "call",
        "AWS's clock runs ahead of the researcher's; by more than 5 min, and signatures are refused.",
        (_ACTION, Option("seconds", parse_duration, 600.0, "how far ahead; below 0 for behind")),
    ),
    FaultKind(
        "no-capacity",
        "launch",
        "A pool has room for a few machines only, or none.",
        (
            Option("machines", whole_number, 0, "how many there may be at a time"),
            Option("code", choice(*CAPACITY_CODES), CAPACITY_CODES[0], "the error's code"),
        ),
    ),
    FaultKind(
        "no-addresses",
        "launch",
        "A subnet has few free addresses, or none.",
        (Option("free", whole_number, 0, "how many"),),
    ),
    FaultKind(
        "image-unavailable",
        "launch",
        "Images cannot be launched.",
        (
            Option("image", comma_list, ("*",), "which, divided by commas"),
            Option("code", choice("InvalidAMIID.Unavailable", "AuthFailure"), "InvalidAMIID.Unavailable", "how"),
        ),
    ),
    FaultKind(
        "profile-late",
        "launch",
        "RunInstances does not know an instance profile yet.",
        (Option("words", choice("name", "roles"), "name", "which of EC2's two messages"),),
    ),
    FaultKind(
        "spot-price", "launch", "The price of spot machines.", (Option("price", decimal, None, "USD an hour for each"),)
    ),
    FaultKind(
        "quota",
        "account",
        "A vCPU quota is lower than usual.",
        (
            Option("quota", choice(*BY_CODE), None, "its code, such as `L-1216C47A`"),
            Option("vcpus", whole_number, 0, "how many vCPUs may run"),
        ),
    ),
    FaultKind(
        "group-in-use",
        "account",
        "Security groups cannot be deleted for a while after the first try: `DependencyViolation`.",
        (Option("seconds", parse_duration, 20.0, "how long"),),
    ),
    FaultKind(
        "colleague",
        "account",
        "Somebody else in the same account has machines, a group and a key from the start.",
        (
            Option("machines", whole_number, 1, "how many; nobody can log in to them"),
            Option("tags", tags, (), "tags of all that is theirs: `Name=ml-0, stratus:cluster=ml`"),
            Option("type", text, "c7i.2xlarge", "the machines' type"),
            Option("group", text, "", "name of a security group"),
            Option("key", text, "", "name of a key pair"),
        ),
    ),
    FaultKind(
        "invisible",
        "machine",
        "For a while EC2 knows nothing of a new machine, nor of its tags.",
        (Option("seconds", parse_duration, 30.0, "how long after the launch"),),
    ),
    FaultKind(
        "stuck-pending",
        "machine",
        "The machine does not come to run.",
        (Option("seconds", parse_duration, 0.0, "how much later than usual it does" + _FOREVER),),
    ),
    FaultKind(
        "dies-pending",
        "machine",
        "The machine ends instead of running.",
        (Option("code", text, "Server.InternalError", "EC2's StateReason"),),
    ),
    FaultKind("protected", "machine", "Termination protection is on."),
    FaultKind("boot-hangs", "machine", "The machine runs and never boots; SSH is refused, user data has no effect."),
    FaultKind("slow-boot", "machine", "SSH comes up late.", (Option("seconds", parse_duration, 30.0, "how late"),)),
    FaultKind("user-data-ignored", "machine", "The machine boots as if it had no user data."),
    FaultKind("ssh-refused", "machine", "Nothing listens where SSH should."),
    FaultKind(
        "ssh-dropped", "machine", "Connections to SSH are not answered at all, as behind a closed security group."
    ),
    FaultKind("ssh-silent", "machine", "SSH's port takes connections and says nothing."),
    FaultKind("other-host-key", "machine", "The machine shows another host key than the one in its user data."),
    FaultKind(
        "dies",
        "moment",
        "The machine ends by itself.",
        (Option("code", text, "Server.InternalError", "EC2's StateReason"),),
    ),
    FaultKind(
        "impaired",
        "moment",
        "A status check fails.",
        (
            Option("check", choice("instance", "system"), "instance", "which"),
            Option("seconds", parse_duration, 0.0, "for how long" + _FOREVER),
        ),
    ),
    FaultKind(
        "spot-interruption",
        "moment",
        "A spot machine gets its notice, and ends after it. On-demand machines are left alone.",
        (
            Option("notice", parse_duration, 120.0, "how long before the end it comes"),
            Option(
                "rebalance", parse_duration, 0.0, "how long before the notice rebalancing is recommended; 0 for never"
            ),
        ),
    ),
    FaultKind("host-lost", "moment", "The machine is gone from the network, dead; EC2 still says that it runs."),
    FaultKind(
        "host-frozen",
        "moment",
        "The machine's connections stay open, and nothing answers.",
        (Option("seconds", parse_duration, 0.0, "for how long" + _FOREVER),),
    ),
    FaultKind("host-reboots", "moment", "The machine reboots by itself."),
    FaultKind(
        "host-key-swapped", "moment", "Another machine, with another host key, answers on the machine's address."
    ),
)

BY_NAME = {kind.name: kind for kind in KINDS}


def reference() -> str:
    """The table of faults as Markdown, for docs/scenarios.md."""
    parts = []
    for name, group in GROUPS.items():
        kinds = [kind for kind in KINDS if kind.group == name]
        head = f"### {group.title}\n\n{group.description}\n{_where(group)}"
        rows = "\n".join(f"| `{kind.name}` | {kind.meaning} | {_options(kind.options)} |" for kind in kinds)
        parts.append(f"{head}\n\n| fault | what happens | its own options |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _where(group: FaultGroup) -> str:
    order = ("region", "zone", "subnet", "type", "market", "host")
    return f"`where` may name: {', '.join(aspect for aspect in order if aspect in group.aspects)}."


def _options(options: Iterable[Option]) -> str:
    return "<br>".join(f"`{option.name}` {option.meaning} ({_default(option)})" for option in options) or "none"


def _default(option: Option) -> str:
    if option.default is None:
        return "required"
    if option.default in ("", ()):
        return "default: none"
    return f"default: `{format_value(option, option.default)}`"


def format_value(option: Option, value: Any) -> str:
    """A value of an option as a file would say it."""
    if option.read is parse_duration:
        return format_duration(value)
    if option.read is tags:
        return ", ".join(f"{key}={content}" for key, content in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
