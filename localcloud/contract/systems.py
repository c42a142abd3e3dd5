"""Comparison of ``distributions.toml`` with AWS's images: one small instance of each reports what it has.

An instance needs no access: it prints its facts to its console. It shuts itself down, which terminates it, also if this
command is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from localcloud.aws.prices import DISKS_PER_GB_MONTH, PUBLIC_ADDRESS_PER_HOUR, USD_PER_HOUR
from localcloud.contract.check_context import CheckContext
from localcloud.contract.distributions import Distribution

LIFETIME_MINUTES = 20
"""Time after which an instance shuts itself down."""
_HOURS_PER_MONTH = 730
_MARK = "stratus-fact"
_POLL_S = 5.0

# With the packages as arguments. The word of a fact comes after its name.
PROBE = f"""fact() {{ echo "{_MARK} $1 $2"; }}
has() {{ command -v "$1" >/dev/null 2>&1; }}
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
fact user "$(id -un 1000 2>/dev/null)"
manager=dnf; has apt-get && manager=apt-get
fact manager "$manager"
fact python "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
fact venv "$(python3 -c 'import ensurepip' 2>/dev/null && echo included || echo package)"
fact engine "$(has dockerd && echo present || echo absent)"
fact ssh "$(systemctl cat ssh.service >/dev/null 2>&1 && echo ssh || echo sshd)"
fact selinux "$(has getenforce && getenforce | tr A-Z a-z || echo disabled)"
fact tmp "$([ "$(findmnt -n -o FSTYPE /tmp)" = tmpfs ] && echo memory || echo disk)"
[ "$manager" = dnf ] || [ $# -eq 0 ] || timeout 300 apt-get -q update >/dev/null 2>&1
for name in "$@"; do
    if [ "$manager" = dnf ]; then
        timeout 300 dnf -q list "$name" >/dev/null 2>&1
    else
        apt-cache show "$name" >/dev/null 2>&1
    fi && fact "package-$name" available || fact "package-$name" missing
done
fact end -
"""


@dataclass(frozen=True)
class SystemChecks:
    """Checks of some distributions.

    :param report: called with each line of the report.
    :param timeout_s: seconds from the launches within which all instances must have reported.
    """

    context: CheckContext
    report: Callable[[str], object]
    timeout_s: float = 900.0
    poll_s: float = _POLL_S

    def run(self, rows: Iterable[Distribution]) -> list[str]:
        """Launch an instance of each distribution, and compare its facts with the row.

        :returns: names of the distributions whose row is wrong, or that could not be checked.
        """
        launched, broken = {}, []
        for row in rows:
            try:
                launched[self._launch(row)] = row
            except Exception as error:
                # One image that cannot be launched must not prevent the other checks.
                broken.append(row.name)
                self.report(f"FAILS  {row.name}: {type(error).__name__}: {error}")
        deadline = time.monotonic() + self.timeout_s
        for instance_id, row in launched.items():
            differences = list(compare(row, self._facts(instance_id, deadline)))
            broken += [row.name] if differences else []
            self.report(
                f"{'FAILS' if differences else 'holds'}  {row.name}{': ' * bool(differences)}{'; '.join(differences)}"
            )
        return broken

    def _launch(self, row: Distribution) -> str:
        context = self.context
        answer = context.launch(
            1,
            ImageId=self._image(row),
            ClientToken=f"{context.tag}-{row.name}"[:64],
            SecurityGroupIds=[context.group],
            UserData=user_data(row),
            InstanceInitiatedShutdownBehavior="terminate",
        )
        instance_id: str = answer["Instances"][0]["InstanceId"]
        return instance_id

    def _image(self, row: Distribution) -> str:
        if row.image.startswith("/"):
            return str(self.context.client("ssm").get_parameter(Name=row.image)["Parameter"]["Value"])
        owner, name = row.image.split()
        answer = self.context.ec2.describe_images(Owners=[owner], Filters=[{"Name": "name", "Values": [name]}])
        newest: dict[str, str] = max(answer["Images"], key=lambda image: str(image["CreationDate"]))
        return newest["ImageId"]

    def _facts(self, instance_id: str, deadline: float) -> Mapping[str, str]:
        facts: dict[str, str] = {}
        while "end" not in facts and time.monotonic() < deadline:
            time.sleep(self.poll_s)
            # The latest output: without it, EC2 returns that of minutes ago.
            answer = self.context.ec2.get_console_output(InstanceId=instance_id, Latest=True)
            facts = facts_in(answer.get("Output", ""))
        return facts


def user_data(row: Distribution) -> str:
    """Return the user data with which an instance reports its facts, and then shuts down."""
    packages = " ".join(row.packages)
    return f"#!/bin/sh\nshutdown -h +{LIFETIME_MINUTES}\nset -- {packages}\n{PROBE}"


def facts_in(console: str) -> dict[str, str]:
    """Return the facts in the console output of an instance."""
    fields = [line[line.index(_MARK) :].split() for line in console.splitlines() if _MARK in line]
    return {name: " ".join(value) for _, name, *value in (field for field in fields if len(field) > 1)}


def compare(row: Distribution, facts: Mapping[str, str]) -> Iterator[str]:
    """Yield the differences between a row and the facts of an instance."""
    if "end" not in facts:
        yield "the instance has not reported its facts in time"
        return
    for name, expected in row.facts.items():
        if facts.get(name, "") != expected:
            yield f"{name} is {facts.get(name) or 'unknown'}, not {expected}"


def price_lines(rows: Iterable[Distribution], instance_type: str) -> list[str]:
    """Return what would be launched, and the most that it costs in cents."""
    cents = {row: 100 * _usd(row, instance_type) for row in rows}
    lines = [f"  {row.name:32} {row.disk_gib:3} GiB   {price:5.2f} cents" for row, price in cents.items()]
    return [
        f"A security group, and one {instance_type} with a public address of each, for {LIFETIME_MINUTES} min at most:",
        *lines,
        f"  {'in all, at most':40}   {sum(cents.values()):5.2f} cents",
    ]


def _usd(row: Distribution, instance_type: str) -> float:
    disk = row.disk_gib * DISKS_PER_GB_MONTH["gp3"] / _HOURS_PER_MONTH
    hourly = USD_PER_HOUR[instance_type] + PUBLIC_ADDRESS_PER_HOUR + row.software_usd + disk
    return hourly * LIFETIME_MINUTES / 60
