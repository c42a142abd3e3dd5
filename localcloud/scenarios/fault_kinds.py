"""The kinds of faults that a scenario can bring: one table, from which files are read and the reference is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from localcloud.aws.quotas import BY_CODE
from localcloud.scenarios.schedule import Form, duration, seconds

Reader = Callable[[str], Any]


def text(value: str) -> str:
    """Any words."""
    return value


def number(value: str) -> int:
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


def words(value: str) -> tuple[str, ...]:
    """Words divided by commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def tags(value: str) -> tuple[tuple[str, str], ...]:
    """Tags ``key=value`` divided by commas."""
    found = []
    for word in words(value):
        key, equals, content = word.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{word!r} is no tag: write key=value")
        found.append((key.strip(), content.strip()))
    return tuple(found)


def one_of(*known: str) -> Reader:
    """One of these words."""

    def read(value: str) -> str:
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
        return value

    read.__doc__ = " or ".join(f"`{word}`" for word in known)
    return read


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
class Kind:
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
class Group:
    """Kinds that befall the same things."""

    title: str
    forms: frozenset[Form]
    aspects: frozenset[str]
    says: str


_STRETCHES: frozenset[Form] = frozenset(("always", "at", "window"))
_PLACES = frozenset(("region", "zone", "type", "market"))
GROUPS = {
    "call": Group(
        "API calls",
        _STRETCHES | {"calls"},
        frozenset(("region",)),
        "`when` may count the calls that `action` means. Actions are named as AWS names them, with wildcards, and "
        "with their service where that matters: `RunInstances`, `Describe*`, `ssm:GetParameter`, `s3:*`.",
    ),
    "launch": Group(
        "Launches",
        _STRETCHES,
        _PLACES | {"subnet"},
        "These are in force for as long as `when` says; `times` counts refusals.",
    ),
    "account": Group("The account", _STRETCHES, frozenset(("region",)), "These belong to the account as a whole."),
    "machine": Group(
        "Machines, from their launch on",
        _STRETCHES,
        _PLACES | {"host", "subnet"},
        "They befall machines that are launched while `when` holds; `times` counts machines, and `chance` is each "
        "machine's.",
    ),
    "moment": Group(
        "Machines, at some moment",
        frozenset(("always", "at", "after")),
        _PLACES | {"host", "subnet"},
        "They strike at the moment that `when` names, `at 40 s` or `40 s after launch`; without one, as soon as the "
        "machine runs.",
    ),
}

_ACTION = Option("action", words, ("*",), "which calls, divided by commas")
_FOR_EVER = "; 0 means for ever"

CAPACITY_CODES = (
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "ReservationCapacityExceeded",
    "UnfulfillableCapacity",
)

KINDS: tuple[Kind, ...] = (
    Kind(
        "error",
        "call",
        "The call is answered with an error.",
        (
            Option("code", text, None, "AWS's code, such as `InternalError`"),
            Option("message", text, "", "the error's words; AWS's own where they are known"),
            Option("status", number, 0, "the HTTP status; 0 means the one that belongs to the code"),
            _ACTION,
            Option("applied", yes_no, False, "whether the call was done all the same"),
        ),
    ),
    Kind(
        "dropped",
        "call",
        "The connection closes without an answer.",
        (_ACTION, Option("applied", yes_no, True, "whether the call was done before that")),
    ),
    Kind(
        "slow",
        "call",
        "The call is done at once, and its answer comes late.",
        (_ACTION, Option("seconds", seconds, 5.0, "how late")),
    ),
    Kind(
        "throttled",
        "call",
        "Calls beyond a rate are refused: `RequestLimitExceeded` from EC2, other services have their own words.",
        (
            _ACTION,
            Option("burst", number, 0, "how many calls are free, if none came for long"),
            Option("rate", decimal, 0.0, "how many more are let through each second"),
        ),
    ),
    Kind(
        "denied",
        "call",
        "The caller lacks a permission: `UnauthorizedOperation` from EC2, also for a dry run.",
        (
            _ACTION,
            Option("by", one_of("policy", "scp", "boundary"), "policy", "what denies it: no policy allows it, or"),
        ),
    ),
    Kind("bad-keys", "call", "The researcher's keys are not known.", (_ACTION,)),
    Kind("expired-keys", "call", "The researcher's session has expired.", (_ACTION,)),
    Kind(
        "clock-skew",
        "call",
        "AWS's clock runs ahead of the researcher's; by more than 5 min, and signatures are refused.",
        (_ACTION, Option("seconds", seconds, 600.0, "how far ahead; below 0 for behind")),
    ),
    Kind(
        "no-capacity",
        "launch",
        "A pool has room for a few machines only, or none.",
        (
            Option("machines", number, 0, "how many there may be at a time"),
            Option("code", one_of(*CAPACITY_CODES), CAPACITY_CODES[0], "the error's code"),
        ),
    ),
    Kind(
        "no-addresses",
        "launch",
        "A subnet has few free addresses, or none.",
        (Option("free", number, 0, "how many"),),
    ),
    Kind(
        "image-unavailable",
        "launch",
        "Images cannot be launched.",
        (
            Option("image", words, ("*",), "which, divided by commas"),
            Option("code", one_of("InvalidAMIID.Unavailable", "AuthFailure"), "InvalidAMIID.Unavailable", "how"),
        ),
    ),
    Kind(
        "profile-late",
        "launch",
        "RunInstances does not know an instance profile yet.",
        (Option("words", one_of("name", "roles"), "name", "which of EC2's two messages"),),
    ),
    Kind(
        "spot-price", "launch", "The price of spot machines.", (Option("price", decimal, None, "USD an hour for each"),)
    ),
    Kind(
        "quota",
        "account",
        "A vCPU quota is lower than usual.",
        (
            Option("quota", one_of(*BY_CODE), None, "its code, such as `L-1216C47A`"),
            Option("vcpus", number, 0, "how many vCPUs may run"),
        ),
    ),
    Kind(
        "group-in-use",
        "account",
        "Security groups cannot be deleted for a while after the first try: `DependencyViolation`.",
        (Option("seconds", seconds, 20.0, "how long"),),
    ),
    Kind(
        "colleague",
        "account",
        "Somebody else in the same account has machines, a group and a key from the start.",
        (
            Option("machines", number, 1, "how many; nobody can log in to them"),
            Option("tags", tags, (), "tags of all that is theirs: `Name=ml-0, stratus:cluster=ml`"),
            Option("type", text, "c7i.2xlarge", "the machines' type"),
            Option("group", text, "", "name of a security group"),
            Option("key", text, "", "name of a key pair"),
        ),
    ),
    Kind(
        "invisible",
        "machine",
        "For a while EC2 knows nothing of a new machine, nor of its tags.",
        (Option("seconds", seconds, 30.0, "how long after the launch"),),
    ),
    Kind(
        "stuck-pending",
        "machine",
        "The machine does not come to run.",
        (Option("seconds", seconds, 0.0, "how much later than usual it does" + _FOR_EVER),),
    ),
    Kind(
        "dies-pending",
        "machine",
        "The machine ends instead of running.",
        (Option("code", text, "Server.InternalError", "EC2's StateReason"),),
    ),
    Kind("protected", "machine", "Termination protection is on."),
    Kind("boot-hangs", "machine", "The machine runs and never boots; SSH is refused, user data has no effect."),
    Kind("slow-boot", "machine", "SSH comes up late.", (Option("seconds", seconds, 30.0, "how late"),)),
    Kind("user-data-ignored", "machine", "The machine boots as if it had no user data."),
    Kind("ssh-refused", "machine", "Nothing listens where SSH should."),
    Kind("ssh-dropped", "machine", "Connections to SSH are not answered at all, as behind a closed security group."),
    Kind("ssh-silent", "machine", "SSH's port takes connections and says nothing."),
    Kind("other-host-key", "machine", "The machine shows another host key than the one in its user data."),
    Kind(
        "dies",
        "moment",
        "The machine ends by itself.",
        (Option("code", text, "Server.InternalError", "EC2's StateReason"),),
    ),
    Kind(
        "impaired",
        "moment",
        "A status check fails.",
        (
            Option("check", one_of("instance", "system"), "instance", "which"),
            Option("seconds", seconds, 0.0, "for how long" + _FOR_EVER),
        ),
    ),
    Kind(
        "spot-interruption",
        "moment",
        "A spot machine gets its notice, and ends after it. On-demand machines are left alone.",
        (
            Option("notice", seconds, 120.0, "how long before the end it comes"),
            Option("rebalance", seconds, 0.0, "how long before the notice rebalancing is recommended; 0 for never"),
        ),
    ),
    Kind("host-lost", "moment", "The machine is gone from the network, dead; EC2 still says that it runs."),
    Kind(
        "host-frozen",
        "moment",
        "The machine's connections stay open, and nothing answers.",
        (Option("seconds", seconds, 0.0, "for how long" + _FOR_EVER),),
    ),
    Kind("host-reboots", "moment", "The machine reboots by itself."),
    Kind("host-key-swapped", "moment", "Another machine, with another host key, answers on the machine's address."),
)

BY_NAME = {kind.name: kind for kind in KINDS}


def reference() -> str:
    """The table of faults as Markdown, for docs/scenarios.md."""
    parts = []
    for name, group in GROUPS.items():
        kinds = [kind for kind in KINDS if kind.group == name]
        head = f"### {group.title}\n\n{group.says}\n{_where(group)}"
        rows = "\n".join(f"| `{kind.name}` | {kind.meaning} | {_options(kind.options)} |" for kind in kinds)
        parts.append(f"{head}\n\n| fault | what happens | its own options |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _where(group: Group) -> str:
    order = ("region", "zone", "subnet", "type", "market", "host")
    return f"`where` may name: {', '.join(aspect for aspect in order if aspect in group.aspects)}."


def _options(options: Iterable[Option]) -> str:
    return "<br>".join(f"`{option.name}` {option.meaning} ({_default(option)})" for option in options) or "none"


def _default(option: Option) -> str:
    if option.default is None:
        return "required"
    if option.default in ("", ()):
        return "default: none"
    return f"default: `{shown(option, option.default)}`"


def shown(option: Option, value: Any) -> str:
    """A value of an option as a file would say it."""
    if option.read is seconds:
        return duration(value)
    if option.read is tags:
        return ", ".join(f"{key}={content}" for key, content in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
