"""Settings that tell which VMs to end: a mistake in any other one must not keep VMs running."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.config import ini
from orchestrator.core.errors import Problem

NEEDED = {
    "cluster": ("name", "owner", "owner_id"),
    "aws": ("region", "profile", "endpoint_url", "terminate_regions", "vpc_id", "security_group_id", "key_name"),
    "ssh": ("private_key",),
}
"""Section -> options. The group and the key pair are among them: a user's own ones must not be deleted."""

EXPLANATION = "Ending VMs needs " + "; ".join(f"[{section}] {', '.join(names)}" for section, names in NEEDED.items())


def needed_by_ending(document: ini.Document, problems: Iterable[Problem], known: Iterable[ini.Key]) -> list[Problem]:
    """Return the problems that leave open which VMs to end.

    :param known: section and name of every option that there is.
    """
    others = set(known) - {(section, name) for section, names in NEEDED.items() for name in names}
    lines = {value.line for key, value in document.values.items() if key in others}
    # Any other line may be a misspelled name of a cluster or region, whose default would be ended instead.
    return [problem for problem in problems if problem.line not in lines]
