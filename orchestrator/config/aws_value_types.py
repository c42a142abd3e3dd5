"""Value types of AWS: instance types, regions, networks, resource ids."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.config import aws_catalog, ini
from orchestrator.config.value_types import ValueType, choice, text


def instance_type() -> ValueType:
    """Return the type of an EC2 instance type; only its form is checked, for regions offer different types."""

    def parse(value: str) -> str:
        if not aws_catalog.is_instance_type(value):
            hint = ini.suggest(value, aws_catalog.instance_types())
            raise ValueError(f"is not an EC2 instance type (family.size).{hint}")
        return value

    return ValueType("family.size", parse)


def instance_types() -> ValueType:
    """Return the type of a list of EC2 instance types, separated by commas."""
    item = instance_type()
    return ValueType("types, ...", lambda value: ", ".join(item.parse(word) for word in _split_list(value)))


def ssh_via() -> ValueType:
    """Return the type of a way to VMs: a jump host, an EC2 Instance Connect Endpoint, or ``ssm``."""

    def parse(value: str) -> str:
        if value == "ssm" or re.fullmatch("eice-[0-9a-f]{8,17}", value):
            return value
        jump = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_.-]{0,63}@)?[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:([0-9]{1,5}))?", value)
        if jump is None or value.startswith("eice-") or not 0 < int(jump[3] or 22) < 65536:
            raise ValueError("is neither a jump host (user@host or user@host:port), nor eice-..., nor ssm")
        return value

    return ValueType("user@host[:port], eice-... or ssm", parse)


def regions_or_all() -> ValueType:
    """Return the type of a list of regions, or ``all``."""
    item = region()

    def parse(value: str) -> str:
        return "all" if value == "all" else ", ".join(item.parse(word) for word in _split_list(value))

    return ValueType("all, or regions, ...", parse)


def _split_list(value: str) -> list[str]:
    return value.replace(",", " ").split()


def region() -> ValueType:
    """Return the type of a region name; only its form is checked, for another cloud may have other regions."""

    def parse(value: str) -> str:
        if not re.fullmatch(r"[a-z]{2,}(-[a-z0-9]+)+", value):
            raise ValueError(f"is not a region.{ini.suggest(value, aws_catalog.REGIONS)}")
        return value

    return ValueType("region", parse)


def image() -> ValueType:
    """Return the type of an image: its alias, id, SSM parameter or a pattern of its name."""

    def parse(value: str) -> str:
        if value.startswith("ami-") and not re.fullmatch("ami-([0-9a-f]{8}|[0-9a-f]{17})", value):
            raise ValueError("is not an image id: ami- and 8 or 17 hexadecimal digits")
        if value.startswith("/") and not re.fullmatch("(/[A-Za-z0-9_.-]+)+", value):
            raise ValueError("is not an SSM parameter: /names/with/slashes")
        # EC2 limits the name of an image to 128 characters.
        if len(value) > 128:
            raise ValueError("is too long for an image's name (128 characters)")
        return value

    return ValueType("alias, id, SSM parameter or name", parse)


def resource_id(prefix: str) -> ValueType:
    """Return the type of an EC2 id, such as ``vpc-0123abcd``."""
    return text(f"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", f"{prefix}- and 8 or 17 hexadecimal digits")


def resource_ids(prefix: str) -> ValueType:
    """Return the type of a list of EC2 ids, separated by commas."""
    item = resource_id(prefix)
    return ValueType("ids, ...", lambda value: ", ".join(item.parse(word) for word in _split_list(value)))


def role() -> ValueType:
    """Return the type of an IAM role: its name or ARN."""
    arn = r"arn:[a-z-]+:iam::[0-9]{12}:role/(\S+/)?[\w+=,.@-]{1,64}"
    return text(rf"[\w+=,.@-]{{1,64}}|{arn}", "a role's name or ARN")


def bucket() -> ValueType:
    """Return the type of a bucket's name: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
    return text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "3 to 63 lower-case letters, digits, . or -")


def managed_type() -> ValueType:
    """Return the type of a SageMaker instance type; only its form is checked."""
    return text(r"ml\.[a-z0-9-]+\.[a-z0-9-]+", "ml.family.size, such as ml.m5.xlarge")


def instance_profile() -> ValueType:
    """Return the type of an instance profile: its name or ARN."""
    name = r"[\w+=,.@-]{1,128}"
    arn = rf"arn:[a-z-]+:iam::[0-9]{{12}}:instance-profile/(\S+/)?{name}"
    return text(f"{name}|{arn}", "an instance profile's name or ARN")


def tag_value() -> ValueType:
    """Return the type of a tag value, limited to the characters that every AWS service accepts."""
    return text(r"[\w +=.:/@-]{1,256}", "up to 256 letters, digits, blanks or + - = . _ : / @")


def dollars() -> ValueType:
    """Return the type of an amount in USD, 0 included."""
    bounds = "0 to 1000000, USD"

    def parse(value: str) -> float:
        if not re.fullmatch(r"\$?[0-9]+(\.[0-9]{1,2})?", value):
            raise ValueError(f"is not an amount of money ({bounds}): write 5 or 12.50")
        if float(value.lstrip("$")) > 1_000_000:
            raise ValueError(f"is out of range: {bounds}")
        return float(value.lstrip("$"))

    return ValueType(bounds, parse)


def url() -> ValueType:
    """Return the type of an endpoint URL; one with user name and password is refused, for it would end up in logs."""
    return text(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[^\s@?#]*)?", "http(s)://host:port")


def shell_words() -> ValueType:
    """Return the type of command-line arguments, quoted as in a shell; one text, which may hold a token."""

    def parse(value: str) -> str:
        import shlex

        try:
            shlex.split(value)
        except ValueError:
            raise ValueError("has a quote that is not closed") from None
        return value

    return ValueType("words", parse, private=True)


def build_args() -> ValueType:
    """Return the type of ``NAME=VALUE`` arguments, quoted as in a shell; the value stays one text."""

    def parse(value: str) -> str:
        import shlex

        for word in shlex.split(shell_words().parse(value)):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", word, re.DOTALL):
                raise ValueError(f"contains {word!r}, which is not NAME=VALUE")
        return value

    return ValueType("NAME=VALUE ...", parse, private=True)


def registry() -> ValueType:
    """Return the type of a container registry: its host, or ``ecr``."""
    return text(
        r"ecr|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}", "a host, host:port or ecr"
    )


def secret_location() -> ValueType:
    """Return the type of a secret's location: an environment variable or a file; never the secret itself."""
    shape = "a variable name in capitals (REGISTRY_PASSWORD) or a file path with a / in it; never the password"
    return ValueType("VARIABLE or path/of/file", text(r"[A-Z_][A-Z0-9_]*|[^\s]*/[^\s]*", shape).parse)


def disk_type() -> ValueType:
    """Return the type of an EBS volume type that a VM can boot from."""
    # EC2 cannot boot from st1 and sc1 volumes; they are for data only.
    bootable = [name for name, disk in aws_catalog.VOLUME_TYPES.items() if disk.bootable]
    known_type = choice(*bootable)

    def parse(value: str) -> str:
        if value in aws_catalog.VOLUME_TYPES and value not in bootable:
            raise ValueError(f"cannot boot a VM: it is for data volumes only. Did you mean {bootable[0]}?")
        return str(known_type.parse(value))

    return ValueType(known_type.description, parse)


def ipv4_networks() -> ValueType:
    """Return the type of ``auto`` or IPv4 networks; the value is ``auto``, or CIDRs joined by commas."""

    def parse(value: str) -> str:
        if value == "auto":
            return value
        parts = [part.strip() for part in value.split(",")]
        # Without duplicates: EC2 rejects a request that contains the same rule twice.
        return ",".join(dict.fromkeys(_network(part, is_only=len(parts) == 1) for part in parts))

    return ValueType("auto, or IPv4 networks separated by commas", parse)


def _network(value: str, *, is_only: bool) -> str:
    """Return one network in the form a.b.c.d/n; a bare address counts as /32."""
    from ipaddress import IPv4Interface, IPv4Network

    try:
        return str(IPv4Network(value))
    except ValueError:
        pass
    try:
        hint = f" Did you mean {IPv4Interface(value).network}?"
    except ValueError:
        hint = ini.suggest(value, ["auto"])
    subject = "is" if is_only else f"contains {value!r}, which is"
    raise ValueError(f"{subject} not an IPv4 network (auto, 203.0.113.7/32 or 203.0.113.0/24).{hint}")


PORT_NAMES = {"http": 80, "https": 443, "jupyter": 8888}
ME, ANYWHERE = "me", "anywhere"


@dataclass(frozen=True)
class OpenPorts:
    """TCP ports that others than the cluster's VMs may connect to.

    :param source: ``me`` (this computer), ``anywhere``, or an IPv4 network.
    """

    first: int
    last: int
    source: str

    @property
    def ports(self) -> str:
        """The port, or ``first-last``."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def __str__(self) -> str:
        return f"{self.ports} from {self.source}"


def open_ports() -> ValueType:
    """Return the type of a list of ports with their sources: ``8888 from me, https from anywhere``."""

    def parse(value: str) -> tuple[OpenPorts, ...]:
        # Without duplicates: EC2 rejects a request that contains the same rule twice.
        return tuple(dict.fromkeys(_open_ports(part.strip()) for part in value.split(",") if part.strip()))

    return ValueType("PORT from me, anywhere or a network; separated by commas", parse)


def _open_ports(text: str) -> OpenPorts:
    match = re.fullmatch(r"(\S+)\s+from\s+(\S+)", text)
    if not match:
        raise ValueError(f"contains {text!r}: write 8888 from me, https from anywhere, or 8000-8010 from 10.1.0.0/16")
    first, last = _port_range(match[1])
    source = match[2] if match[2] in (ME, ANYWHERE) else _source(match[2])
    return OpenPorts(first, last, ANYWHERE if source == "0.0.0.0/0" else source)


def _port_range(text: str) -> tuple[int, int]:
    if text in PORT_NAMES:
        return PORT_NAMES[text], PORT_NAMES[text]
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    if not match:
        hint = ini.suggest(text, PORT_NAMES)
        raise ValueError(f"has {text!r}, which is not a port: a number, first-last, or {', '.join(PORT_NAMES)}.{hint}")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"has {text!r}, which is not a port or a range of them (1 to 65535)")
    return first, last


def _source(text: str) -> str:
    if text[:1].isdigit():
        return _network(text, is_only=False)
    raise ValueError(f"has {text!r}, which is neither me, anywhere nor a network.{ini.suggest(text, (ME, ANYWHERE))}")
