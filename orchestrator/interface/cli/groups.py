"""The group of commands that AWS's own command line has: ``sagemaker train`` stands for ``train-on-sagemaker``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from orchestrator.core.errors import UsageError
from orchestrator.interface.verbs.registry import VerbRegistry

SAGEMAKER = "sagemaker"


def members(registry: VerbRegistry) -> Mapping[str, str]:
    """Return word after ``sagemaker`` -> command, in the order of the help."""
    from orchestrator.interface.verbs.sagemaker import endpoints, setup, training, tuning

    own = {verb.command for module in (training, tuning, endpoints, setup) for verb in module.GROUP}
    names = dict.fromkeys(verb.command for verb in registry if verb.command in own)
    return {name.removesuffix(f"-on-{SAGEMAKER}").removeprefix(f"{SAGEMAKER}-"): name for name in names}


def expanded(argv: Sequence[str], at: int, registry: VerbRegistry, program: str) -> list[str]:
    """Return a command line with the command that a member of the group stands for.

    :param at: position of the verb.
    :raises UsageError: an option comes before the member, which alone knows it.
    """
    if list(argv[at : at + 1]) != [SAGEMAKER]:
        return list(argv)
    known, rest = members(registry), argv[at + 1 :]
    if rest and rest[0] in known:
        return [*argv[:at], known[rest[0]], *rest[1:]]
    member = next((word for word in rest if word in known), "")
    if member and not {"-h", "--help"} & set(rest):
        at = list(rest).index(member)
        moved = shlex.join([member, *rest[:at], *rest[at + 1 :]])
        raise UsageError(f"{rest[0]} goes after the verb", fix=f"{program} {SAGEMAKER} {moved}")
    return list(argv)
