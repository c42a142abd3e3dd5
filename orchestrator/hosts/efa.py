"""Elastic Fabric Adapters as programs on a host find them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError, first_line
from orchestrator.hosts.commands import marked_lines

if TYPE_CHECKING:
    from orchestrator.core.host import Host
    from orchestrator.ssh import SshClient

TIMEOUT_S = 40.0

NO_SOFTWARE = "the image has no EFA software (fi_info)"
FIX = "set [cluster] image = deep-learning-ubuntu-24.04, or run AWS's installer in the job's setup (docs/vms.md)"

_MAX_LINE = 120
_UNPRINTABLE = re.compile(r"[^ -~]")


def problem(ssh: SshClient, host: Host) -> str:
    """Return why programs on a host cannot use EFA; empty if they can. No errors are raised."""
    try:
        result = ssh.run(host, remote_scripts.inline_command("health/efa_check.sh"), timeout_s=TIMEOUT_S)
    except StratusError as error:
        return f"not checked: {first_line(error)}"
    return parse(result.stdout)


def parse(output: str) -> str:
    """Return why EFA cannot be used.

    :param output: of ``efa_check.sh``, which the host may have forged.
    """
    answer = next(iter(marked_lines(output, "@@efa")), "")
    if answer == "ok":
        return ""
    if answer == "no-software":
        return NO_SOFTWARE
    return f"fi_info -p efa: {_UNPRINTABLE.sub('?', answer.removeprefix('broken ')[:_MAX_LINE]) or 'no output'}"
