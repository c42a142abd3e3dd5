"""Kinds of faults: one table, from which scenario files are read; ``scenarios.reference`` writes it for the docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localcloud.aws.quotas import BY_CODE
from localcloud.aws.sagemaker_catalog import is_quota_name
from localcloud.scenarios.readers import (
    Reader,
    choice,
    comma_list,
    decimal,
    ipv4_address,
    tags,
    text,
    whole_number,
    yes_no,
)
from localcloud.scenarios.schedule import Form, format_duration, parse_duration


@dataclass(frozen=True)
class Option:
    """A further setting of a kind of fault.

    :param read: parses its text, raising ValueError.
    :param default: None if it is required.
    """

    name: str
    read: Reader
    default: Any
    meaning: str


def quota(value: str) -> str:
    """Return the code of a vCPU quota, or the name of a quota of SageMaker's instances."""
    return value if is_quota_name(value) else choice(*BY_CODE)(value)


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    :param group: what it applies to; decides which forms of ``when`` and ``where`` are valid.
    :param options: its own; all kinds have ``when``, ``where``, ``times`` and ``chance``.
    """

    name: str
    group: str
    meaning: str
    options: tuple[Option, ...] = ()

    @property
    def forms(self) -> frozenset[Form]:
        """Valid forms of ``when``."""
        return GROUPS[self.group].forms

    @property
    def aspects(self) -> frozenset[str]:
        """Valid aspects of ``where``."""
        return GROUPS[self.group].aspects

    def option(self, name: str) -> Option | None:
        """Return the option of that name, or None."""
        return next((option for option in self.options if option.name == name), None)


@dataclass(frozen=True)
class FaultGroup:
    """Kinds of faults that apply to the same things."""

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
        "`when` may count the calls that match `action`. Actions have AWS's names, with wildcards, and a service "
        "prefix where that matters: `RunInstances`, `Describe*`, `ssm:GetParameter`, `s3:*`.",
    ),
    "launch": FaultGroup(
        "Launches",
        _PERIODS,
        _PLACES | {"subnet"},
        "They apply for as long as `when` covers; `times` counts refused launches.",
    ),
    "account": FaultGroup("The account", _PERIODS, frozenset(("region",)), "They apply to the account as a whole."),
    "machine": FaultGroup(
        "VMs, from their launch on",
        _PERIODS,
        _PLACES | {"host", "subnet"},
        "They apply to VMs launched while `when` covers; `times` counts VMs, and `chance` is drawn for each VM.",
    ),
    "moment": FaultGroup(
        "VMs, at some moment",
        frozenset(("always", "at", "after")),
        _PLACES | {"host", "subnet"},
        "They trigger at the moment that `when` names, `at 40 s` or `40 s after launch`; without one, as soon as the "
        "VM is running.",
    ),
}

# Shared by all faults of calls, so that their rows in the reference agree.
_ACTION = Option("action", comma_list, ("*",), "affected calls, separated by commas")
_FOREVER = "; 0 for permanently"

# Of the SSH port, of logins, and in answers to commands: localcloud.hosts.hostile.
HOSTILE = (
    *("endless-banner", "slow-banner", "slow-handshake", "cut-handshake", "endless-packet", "endless-login-banner"),
    *("endless-output", "endless-errors", "slow-output", "cut-output", "escapes", "lies"),
    *("archive-bomb", "archive-links"),
)

# All codes with which EC2 reports missing capacity; tools must handle each of them as such.
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
            Option("message", text, "", "the error's message; by default AWS's own, if known"),
            Option("status", whole_number, 0, "the HTTP status; 0 for that of the code"),
            _ACTION,
            Option("applied", yes_no, False, "whether the call takes effect anyway"),
        ),
    ),
    FaultKind(
        "dropped",
        "call",
        "The connection closes without an answer.",
        (_ACTION, Option("applied", yes_no, True, "whether the call takes effect before that")),
    ),
    FaultKind(
        "slow",
        "call",
        "The call takes effect at once, and its answer is late.",
        (_ACTION, Option("seconds", parse_duration, 5.0, "delay")),
    ),
    FaultKind(
        "altered",
        "call",
        "The call takes effect, and its answer lacks a field, or has another value there.",
        (
            _ACTION,
            Option("field", text, None, "name of the field as it is sent, such as `instanceId`"),
            Option("value", text, "", "the other value; JSON, where the answer is JSON"),
        ),
    ),
    FaultKind(
        "throttled",
        "call",
        "Calls beyond a rate are refused: `RequestLimitExceeded` from EC2, other codes from other services.",
        (
            _ACTION,
            Option("burst", whole_number, 0, "number of calls allowed at once after a pause"),
            Option("rate", decimal, 0.0, "number of further calls allowed per second"),
        ),
    ),
    FaultKind(
        "denied",
        "call",
        "The caller lacks a permission: `UnauthorizedOperation` from EC2, also for a dry run.",
        (
            _ACTION,
            Option(
                "by", choice("policy", "scp", "boundary"), "policy", "what denies it: `policy`, `scp` or `boundary`"
            ),
        ),
    ),
    FaultKind("bad-keys", "call", "The user's keys are unknown to AWS.", (_ACTION,)),
    FaultKind("expired-keys", "call", "The user's session has expired.", (_ACTION,)),
    FaultKind(
        "clock-skew",
        "call",
        "AWS's clock is ahead of the user's; signatures are refused beyond 5 min.",
        (_ACTION, Option("seconds", parse_duration, 600.0, "difference; negative if AWS's clock is behind")),
    ),
    FaultKind(
        "no-capacity",
        "launch",
        "A capacity pool has room for a few VMs, or none.",
        (
            Option("machines", whole_number, 0, "number of VMs that may exist at a time"),
            Option("code", choice(*CAPACITY_CODES), CAPACITY_CODES[0], "the error's code"),
        ),
    ),
    FaultKind(
        "no-addresses",
        "launch",
        "A subnet has few free addresses, or none.",
        (Option("free", whole_number, 0, "number of free addresses"),),
    ),
    FaultKind(
        "image-unavailable",
        "launch",
        "Images cannot be launched.",
        (
            Option("image", comma_list, ("*",), "affected images, separated by commas"),
            Option(
                "code",
                choice("InvalidAMIID.Unavailable", "AuthFailure"),
                "InvalidAMIID.Unavailable",
                "the error's code",
            ),
        ),
    ),
    FaultKind(
        "profile-late",
        "launch",
        "RunInstances does not find a new instance profile yet.",
        (Option("words", choice("name", "roles"), "name", "variant of EC2's message: `name` or `roles`"),),
    ),
    FaultKind(
        "spot-price", "launch", "The price of spot VMs.", (Option("price", decimal, None, "USD per hour and VM"),)
    ),
    FaultKind(
        "quota",
        "account",
        "A quota of vCPUs, or of SageMaker's instances, is lower than usual.",
        (
            Option("quota", quota, None, "code, such as `L-1216C47A`, or `ml.g5.xlarge for training job usage`"),
            Option("vcpus", whole_number, 0, "number of vCPUs, or of SageMaker's instances, that may run"),
        ),
    ),
    FaultKind(
        "group-in-use",
        "account",
        "Security groups cannot be deleted for a while after the first try: `DependencyViolation`.",
        (Option("seconds", parse_duration, 20.0, "duration"),),
    ),
    FaultKind(
        "colleague",
        "account",
        "Another user of the account has VMs, a security group and a key pair from the start.",
        (
            Option("machines", whole_number, 1, "number of VMs; they have no SSH server"),
            Option("tags", tags, (), "tags of all their resources: `Name=ml-0, stratus:cluster=ml`"),
            Option("type", text, "c7i.2xlarge", "instance type of the VMs"),
            Option("group", text, "", "name of a security group"),
            Option("key", text, "", "name of a key pair"),
        ),
    ),
    FaultKind(
        "address-changes",
        "account",
        "The user's computer has another address, as on another network: VMs are silent if their group admits only the "
        "old one.",
        (Option("address", ipv4_address, "198.51.100.23", "the other address"),),
    ),
    FaultKind(
        "invisible",
        "machine",
        "EC2's API does not show a new VM and its tags for a while.",
        (Option("seconds", parse_duration, 30.0, "time from the launch"),),
    ),
    FaultKind(
        "stuck-pending",
        "machine",
        "The VM does not enter running.",
        (Option("seconds", parse_duration, 0.0, "delay" + _FOREVER),),
    ),
    FaultKind(
        "dies-pending",
        "machine",
        "The VM terminates instead of running.",
        (Option("code", text, "Server.InternalError", "EC2's StateReason"),),
    ),
    FaultKind("protected", "machine", "Termination protection is on."),
    FaultKind("boot-hangs", "machine", "The VM is running and never boots; SSH is refused, user data has no effect."),
    FaultKind("slow-boot", "machine", "SSH starts late.", (Option("seconds", parse_duration, 30.0, "delay"),)),
    FaultKind("user-data-ignored", "machine", "The VM boots as if it had no user data."),
    FaultKind("ssh-refused", "machine", "Nothing listens on the SSH port."),
    FaultKind(
        "ssh-dropped", "machine", "Connections to SSH are not answered at all, as behind a closed security group."
    ),
    FaultKind("ssh-silent", "machine", "The SSH port accepts connections and sends nothing."),
    FaultKind("other-host-key", "machine", "The VM has another host key than the one in its user data."),
    FaultKind(
        "apt-locked",
        "machine",
        "unattended-upgrades holds apt's lock after a boot.",
        (Option("seconds", parse_duration, 60.0, "duration" + _FOREVER),),
    ),
    FaultKind(
        "no-route",
        "machine",
        "The VM has no way to the Internet, as in a subnet without NAT: package mirrors, indexes.",
    ),
    FaultKind("no-dns", "machine", "The VM cannot resolve names."),
    FaultKind(
        "clock-behind",
        "machine",
        "apt finds the VM's clock hours behind after a boot, until NTP sets it.",
        (Option("seconds", parse_duration, 60.0, "time until NTP sets it" + _FOREVER),),
    ),
    FaultKind(
        "disk-nearly-full",
        "machine",
        "There is no room for packages of the distribution.",
        (Option("free", whole_number, 20, "MB that are left for downloads of apt"),),
    ),
    FaultKind("needrestart", "machine", "An install by apt restarts the VM's services, unless it forbids that."),
    FaultKind(
        "dies",
        "moment",
        "The VM terminates by itself.",
        (Option("code", text, "Server.InternalError", "EC2's StateReason"),),
    ),
    FaultKind(
        "impaired",
        "moment",
        "A status check fails.",
        (
            Option("check", choice("instance", "system"), "instance", "the failing check: `instance` or `system`"),
            Option("seconds", parse_duration, 0.0, "duration" + _FOREVER),
        ),
    ),
    FaultKind(
        "spot-interruption",
        "moment",
        "A spot VM gets an interruption notice and is terminated after it. On-demand VMs are unaffected.",
        (
            Option("notice", parse_duration, 120.0, "time from the notice to the end"),
            Option(
                "rebalance", parse_duration, 0.0, "how long before the notice rebalancing is recommended; 0 for never"
            ),
        ),
    ),
    FaultKind("host-lost", "moment", "The VM is dead and off the network; EC2 still shows it as running."),
    FaultKind(
        "host-frozen",
        "moment",
        "The VM's connections stay open, and nothing answers.",
        (Option("seconds", parse_duration, 0.0, "duration" + _FOREVER),),
    ),
    FaultKind("host-reboots", "moment", "The VM reboots by itself."),
    FaultKind("host-key-swapped", "moment", "Another VM, with another host key, answers on the VM's address."),
    FaultKind(
        "gpu-ecc",
        "moment",
        "The first NVIDIA GPU of the VM has memory errors that ECC could not correct; process hosts only.",
        (Option("errors", whole_number, 7, "number of errors"),),
    ),
    FaultKind(
        "gpu-xid",
        "moment",
        "The driver logs an error of the first NVIDIA GPU (Xid); process hosts only.",
        (Option("code", whole_number, 79, "its code; 79: the GPU has fallen off the bus"),),
    ),
    FaultKind(
        "gpu-missing",
        "moment",
        "nvidia-smi lists fewer GPUs than the instance type has; process hosts only.",
        (Option("gpus", whole_number, 1, "number of missing GPUs"),),
    ),
    FaultKind(
        "host-hostile",
        "moment",
        "The VM attacks its clients; process hosts only. It reboots if the attack is one of its SSH port.",
        (
            Option("how", choice(*HOSTILE), None, f"the attack: {', '.join(f'`{how}`' for how in HOSTILE)}"),
            Option("commands", text, "*", "pattern of the commands that are answered in this way; the others run"),
        ),
    ),
)

BY_NAME = {kind.name: kind for kind in KINDS}


def format_value(option: Option, value: Any) -> str:
    """Return the value of an option as a file has it."""
    # The inverse of the reader, so that a scenario's text can be parsed again.
    if option.read is parse_duration:
        return format_duration(value)
    if option.read is tags:
        return ", ".join(f"{key}={content}" for key, content in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
