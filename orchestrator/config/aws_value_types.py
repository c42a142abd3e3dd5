"""Kinds of values that only a cloud has: instance types, regions, networks, ids."""

from __future__ import annotations

import re

from orchestrator.config import aws_catalog, ini
from orchestrator.config.value_types import ValueType, choice, text


def instance_type() -> ValueType:
    """Return the kind of an EC2 instance type, judged by its shape; whether a region has it is AWS's to say."""

    def parse(given: str) -> str:
        if not aws_catalog.is_instance_type(given):
            near = ini.suggest(given, aws_catalog.instance_types())
            raise ValueError(f"is no EC2 instance type (family.size).{near}")
        return given

    return ValueType("family.size", parse)


def instance_types() -> ValueType:
    """Return the kind of a list of EC2 instance types, separated by commas."""
    one = instance_type()
    return ValueType("types, ...", lambda given: ", ".join(one.parse(each) for each in _listed(given)))


def regions_or_all() -> ValueType:
    """Return the kind of a list of regions, or ``all``."""
    one = region()

    def parse(given: str) -> str:
        return "all" if given == "all" else ", ".join(one.parse(each) for each in _listed(given))

    return ValueType("all, or regions, ...", parse)


def _listed(given: str) -> list[str]:
    return given.replace(",", " ").split()


def region() -> ValueType:
    """Return the kind of a region's name, judged by its shape."""

    def parse(given: str) -> str:
        if not re.fullmatch(r"[a-z]{2,}(-[a-z0-9]+)+", given):
            raise ValueError(f"is no region.{ini.suggest(given, aws_catalog.REGIONS)}")
        return given

    return ValueType("region", parse)


def image() -> ValueType:
    """Return the kind of an image: its alias, id, SSM parameter or a pattern of its name."""

    def parse(given: str) -> str:
        if given.startswith("ami-") and not re.fullmatch("ami-([0-9a-f]{8}|[0-9a-f]{17})", given):
            raise ValueError("is no image id: ami- and 8 or 17 of the digits 0-9 a-f")
        if given.startswith("/") and not re.fullmatch("(/[A-Za-z0-9_.-]+)+", given):
            raise ValueError("is no SSM parameter: /names/with/slashes")
        if len(given) > 128:
            raise ValueError("is too long for an image's name (128 characters)")
        return given

    return ValueType("alias, id, SSM parameter or name", parse)


def resource_id(prefix: str) -> ValueType:
    """Return the kind of an EC2 id, such as ``vpc-0123abcd``."""
    return text(f"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", f"{prefix}- and 8 or 17 of the digits 0-9 a-f")


def instance_profile() -> ValueType:
    """Return the kind of an instance profile: its name or ARN."""
    name = r"[\w+=,.@-]{1,128}"
    arn = rf"arn:[a-z-]+:iam::[0-9]{{12}}:instance-profile/(\S+/)?{name}"
    return text(f"{name}|{arn}", "an instance profile's name or ARN")


def tag_value() -> ValueType:
    """Return the kind of a tag's value, in the characters that every AWS service takes."""
    return text(r"[\w +=.:/@-]{1,256}", "up to 256 letters, digits, blanks or + - = . _ : / @")


def dollars() -> ValueType:
    """Return the kind of an amount of money, 0 included."""
    words = "0 to 1000000, USD"

    def parse(given: str) -> float:
        if not re.fullmatch(r"\$?[0-9]+(\.[0-9]{1,2})?", given):
            raise ValueError(f"is no amount of money ({words}): write 5 or 12.50")
        if float(given.lstrip("$")) > 1_000_000:
            raise ValueError(f"is out of range: {words}")
        return float(given.lstrip("$"))

    return ValueType(words, parse)


def url() -> ValueType:
    """Return the kind of an endpoint's address; a name and password in it would end up in logs, so they are refused."""
    return text(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[^\s@?#]*)?", "http(s)://host:port")


def shell_words() -> ValueType:
    """Return the kind of words for a command line, quoted as in a shell; it stays one text and may hold a token."""

    def parse(given: str) -> str:
        import shlex

        try:
            shlex.split(given)
        except ValueError:
            raise ValueError("has a quote that is not closed") from None
        return given

    return ValueType("words", parse, private=True)


def build_args() -> ValueType:
    """Return the kind of ``NAME=VALUE`` words, quoted as in a shell; it stays one text."""

    def parse(given: str) -> str:
        import shlex

        for word in shlex.split(shell_words().parse(given)):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", word, re.DOTALL):
                raise ValueError(f"holds {word!r}, which is not NAME=VALUE")
        return given

    return ValueType("NAME=VALUE ...", parse, private=True)


def registry() -> ValueType:
    """Return the kind of a registry of container images: its host, or ``ecr``."""
    return text(
        r"ecr|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}", "a host, host:port or ecr"
    )


def secret_location() -> ValueType:
    """Return the kind of a place that holds a secret: a variable of the environment or a file; never the secret."""
    shape = "a variable's name in capitals (REGISTRY_PASSWORD) or a file's path with a / in it; never the password"
    return ValueType("VARIABLE or path/of/file", text(r"[A-Z_][A-Z0-9_]*|[^\s]*/[^\s]*", shape).parse)


def disk_type() -> ValueType:
    """Return the kind of a volume type that a VM can boot from."""
    bootable = [name for name, disk in aws_catalog.VOLUME_TYPES.items() if disk.bootable]
    one_of = choice(*bootable)

    def parse(given: str) -> str:
        if given in aws_catalog.VOLUME_TYPES and given not in bootable:
            raise ValueError(f"cannot boot a VM: AWS has it for data only. Did you mean {bootable[0]}?")
        return str(one_of.parse(given))

    return ValueType(one_of.description, parse)


def ipv4_networks() -> ValueType:
    """Return the kind of ``auto``, or of IPv4 networks; the value is ``auto``, or CIDRs joined by commas."""

    def parse(given: str) -> str:
        if given == "auto":
            return given
        parts = [part.strip() for part in given.split(",")]
        return ",".join(dict.fromkeys(_network(part, alone=len(parts) == 1) for part in parts))

    return ValueType("auto, or IPv4 networks with commas between", parse)


def _network(given: str, *, alone: bool) -> str:
    """Return one network in the form a.b.c.d/n; a bare address is a network of its own."""
    from ipaddress import IPv4Interface, IPv4Network

    try:
        return str(IPv4Network(given))
    except ValueError:
        pass
    try:
        near = f" Did you mean {IPv4Interface(given).network}?"
    except ValueError:
        near = ini.suggest(given, ["auto"])
    subject = "is" if alone else f"holds {given!r}, which is"
    raise ValueError(f"{subject} no IPv4 network (auto, 203.0.113.7/32 or 203.0.113.0/24).{near}")
