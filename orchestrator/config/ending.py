"""Settings that tell which VMs to end: a mistake in any other one must not keep VMs running."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.config import ini
from orchestrator.core.errors import Problem

NEEDED = {
    "cluster": ("name", "owner", "owner_id"),
    "aws": ("region", "profile", "endpoint_url", "terminate_regions", "vpc_id", "security_group_id", "key_name"),
    "ssh": ("private_key",),
}
"""Section -> options. The group and the key pair are among them: a user's own ones must not be deleted."""

EXPLANATION = "Finding and ending VMs needs " + "; ".join(
    f"[{section}] {', '.join(names)}" for section, names in NEEDED.items()
)


def needed_by_ending(document: ini.Document, problems: Iterable[Problem], known: Collection[ini.Key]) -> list[Problem]:
    """Return the problems that leave open which VMs to end.

    Any other setting may be wrong in any way: its value, its section, a second line for it.

    :param known: section and name of every option that there is.
    """
    sections = {section for section, _ in known}
    # No two sections have an option of the same name, so a line in the wrong section, or in none, is unambiguous.
    others = {name for _, name in known} - {name for names in NEEDED.values() for name in names}
    harmless = others | {f"[{section}]" for section in sections}
    lines = {line for line, subject in document.subjects.items() if subject in harmless}
    # Any other line may be a misspelled name of a cluster or region, whose default would be ended instead.
    return [problem for problem in problems if problem.line not in lines]
