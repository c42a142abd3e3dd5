"""All verbs, by name and by command, and hints worded as commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import Verb, VerbGroup
from orchestrator.interface.verbs.parameters import VerbParameter


@dataclass(frozen=True)
class VerbRegistry:
    """The verbs of some groups, in order.

    :param groups: a new topic is one more of them.
    """

    groups: Sequence[VerbGroup]
    _by_name: dict[str, Verb] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for verb in self:
            for name in (verb.name, *verb.aliases):
                self._by_name[name] = verb

    def __iter__(self) -> Iterator[Verb]:
        return (verb for group in self.groups for verb in group)

    @property
    def steps(self) -> list[Verb]:
        """The steps of every session, in order."""
        return sorted((verb for verb in self if verb.step), key=lambda verb: verb.step)

    @property
    def by_name(self) -> dict[str, Verb]:
        """Every name at the prompt, aliases included -> its verb."""
        return dict(self._by_name)

    def find(self, name: str) -> Verb | None:
        """Return the verb with a name or an alias; None when there is none."""
        return self._by_name.get(name)

    def as_command(self, step: NextStep, program: str) -> str:
        """Return a hint as a command: ``stratus attach k3`` for ``Attach("k3")``.

        :param program: what starts this program, with the options that were given before the verb.
        """
        verb = self._by_name.get(step.verb)
        if verb is None:
            # Not every hint is a verb's: Help() exists at the prompt only.
            return str(step)
        bound = verb.signature.bind(*step.arguments, **dict(step.options)).arguments
        values = [(parameter, bound[parameter.name]) for parameter in verb.parameters if parameter.name in bound]
        # Options first: a parameter that takes the rest of the line would take them, too.
        values.sort(key=lambda item: item[0].is_positional)
        arguments = [word for parameter, value in values for word in _words(parameter, value)]
        return " ".join([program, verb.command, *([verb.flag] if verb.flag else []), *arguments])


def _words(parameter: VerbParameter, value: object) -> list[str]:
    """Return a value as words of the command line: ``-n 2``, ``--yes``, ``k3``."""
    if parameter.is_flag:
        return [option_name(parameter)] if value else []
    if isinstance(value, tuple):
        # Quoted, because hints are copied into a shell.
        return [shlex.quote(str(item)) for item in value]
    word = shlex.quote(str(value))
    return [word] if parameter.is_positional else [option_name(parameter), word]


def option_name(parameter: VerbParameter) -> str:
    """Return the option of a parameter: ``--host``, ``-n``."""
    # One letter is a short option, as in every other program.
    dashes = "-" if len(parameter.name) == 1 else "--"
    return f"{dashes}{parameter.name.replace('_', '-')}"


def default_registry() -> VerbRegistry:
    """Return the verbs of this program. A new topic is one more module here."""
    from orchestrator.interface.verbs import (
        account,
        cluster,
        config,
        experiment,
        hosts,
        job_files,
        jobs,
        notebooks,
    )
    from orchestrator.interface.verbs import storage as data
    from orchestrator.interface.verbs.machines import gpus, images
    from orchestrator.interface.verbs.sagemaker import endpoints, setup, training, tuning

    groups = (cluster, jobs, experiment, training, tuning, endpoints, setup)
    modules = (*groups, images, gpus, hosts, notebooks, data, account, config, job_files)
    return VerbRegistry([module.GROUP for module in modules])
