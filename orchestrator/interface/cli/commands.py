"""Commands of the command line, derived from the declarations of the verbs: parser and completion are made of these."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.interface.cli import groups
from orchestrator.interface.verbs import help as verb_help
from orchestrator.interface.verbs.base import Verb
from orchestrator.interface.verbs.parameters import UNSET, Completes, VerbParameter
from orchestrator.interface.verbs.registry import VerbRegistry, option_name


@dataclass(frozen=True)
class Argument:
    """An argument of a command.

    :param name: name of the function's parameter.
    :param flags: names of the option; empty for a positional argument.
    :param help: one line.
    :param nargs: as argparse has it; None: one word.
    :param default: value when it is not given.
    """

    name: str
    flags: tuple[str, ...] = ()
    metavar: str = ""
    help: str = ""
    parse: Callable[[str], Any] | None = None
    choices: tuple[str, ...] = ()
    completes: Completes = ""
    nargs: str | None = None
    default: Any = None
    is_flag: bool = False


@dataclass(frozen=True)
class Command:
    """A command, with the verbs that it stands for.

    :param description: paragraphs for ``--help``.
    """

    name: str
    help: str
    description: str
    epilog: str = ""
    aliases: tuple[str, ...] = ()
    verbs: tuple[Verb, ...] = ()
    arguments: tuple[Argument, ...] = ()

    @property
    def options(self) -> dict[str, str]:
        """Every option -> its help."""
        return {flag: argument.help for argument in self.arguments for flag in argument.flags}

    @property
    def words(self) -> tuple[str, ...]:
        """Fixed words that it takes."""
        return tuple(choice for argument in self.arguments if not argument.flags for choice in argument.choices)


SHELLS = ("bash", "zsh", "fish")

OWN_COMMANDS = (
    Command(
        "completion",
        "print the completion script of a shell",
        "Print the completion script of a shell.",
        arguments=(Argument("shell", metavar="{bash,zsh,fish}", choices=SHELLS),),
    ),
    Command("manual", "print the manual of all verbs, in Markdown", "Print the manual of all verbs, in Markdown."),
    Command("shell", "open the shell: the same verbs in IPython", "Open the shell: the same verbs in IPython."),
)
"""Commands that are no verbs."""


def commands(registry: VerbRegistry, program: str) -> list[Command]:
    """Return the commands of all verbs in order, then those that are no verbs."""
    # The order of declaration is the order of --help.
    by_name: dict[str, list[Verb]] = {}
    for verb in registry:
        by_name.setdefault(verb.command, []).append(verb)
    of_verbs = [_command(registry, name, verbs, program) for name, verbs in by_name.items()]
    return [*of_verbs, *_groups(registry), *OWN_COMMANDS]


def _groups(registry: VerbRegistry) -> list[Command]:
    """Return the group as a command, for help and completion; its members are expanded before a line is parsed."""
    if not (known := groups.members(registry)):
        return []
    description = f"The verbs on SageMaker; each is a command as well: {', '.join(known.values())}."
    argument = Argument("member", metavar="VERB", choices=tuple(known), help=", ".join(known))
    return [Command(groups.SAGEMAKER, "the verbs on SageMaker: train, role ...", description, arguments=(argument,))]


def commands_for(registry: VerbRegistry, program: str, word: str) -> list[Command]:
    """Return the command that a word names; all commands if it names none.

    The parser of one command takes a tenth of the time of the parser of all.
    """
    names = {verb.command for verb in registry if word in (verb.command, *verb.command_aliases)}
    if len(names) != 1:
        return commands(registry, program)
    (name,) = names
    return [_command(registry, name, [verb for verb in registry if verb.command == name], program)]


def _command(registry: VerbRegistry, name: str, verbs: Sequence[Verb], program: str) -> Command:
    # The verb without a flag describes the command: `stratus run` alone is the run on one VM.
    first = verbs[0]
    epilog = verb_help.worded(verb_help.closing_lines(first), lambda step: registry.as_command(step, program))
    return Command(
        name,
        help=first.docs.summary[0].lower() + first.docs.summary[1:],
        description="\n\n".join(filter(None, [f"{first.docs.summary}.", first.docs.prose])),
        epilog=epilog,
        aliases=tuple(alias for verb in verbs for alias in verb.command_aliases),
        verbs=tuple(verbs),
        arguments=_arguments(verbs),
    )


def _arguments(verbs: Sequence[Verb]) -> tuple[Argument, ...]:
    """Return the arguments of all verbs of a command, and the options that select one of them."""
    selecting = [
        Argument(_flag_name(verb), (verb.flag,), help=_selects(verb), is_flag=True, default=False)
        for verb in verbs
        if verb.flag
    ]
    # Reversed, so that the first verb's description counts where verbs share a parameter.
    own = {
        parameter.name: _argument(parameter, verb.docs.parameters.get(parameter.name, ""))
        for verb in reversed(verbs)
        for parameter in verb.parameters
        if not parameter.prompt_only
    }
    # argparse would let the default of the positional argument replace the option's value.
    options = [
        replace(_argument(parameter, ""), flags=(option_name(parameter),), nargs=None, default=None)
        for verb in verbs
        for parameter in verb.parameters
        if parameter.also_option
    ]
    arguments = (*selecting, *own.values())
    return (*arguments, *{argument.name: argument for argument in options}.values())


def _selects(verb: Verb) -> str:
    summary = verb.docs.summary
    return summary[0].lower() + summary[1:]


def _flag_name(verb: Verb) -> str:
    return verb.flag.lstrip("-")


def _argument(parameter: VerbParameter, text: str) -> Argument:
    default = parameter.default if parameter.command_default is UNSET else parameter.command_default
    positional = parameter.is_positional
    flags = () if positional else tuple(filter(None, (parameter.short, option_name(parameter))))
    metavar = parameter.metavar or parameter.name.upper()
    argument = Argument(
        parameter.name, flags, metavar, text.rstrip("."), parameter.parse, parameter.choices, parameter.completes
    )
    if parameter.is_flag:
        # Flags only switch on: a parameter that is on by default would need an option to switch it off.
        return replace(argument, is_flag=True, default=False)
    if not positional:
        return replace(argument, default=default)
    if parameter.is_variadic:
        # "..." is argparse.REMAINDER: options in a command for the VM belong to that command.
        return replace(argument, nargs="..." if parameter.takes_rest else "*", default=())
    if default is UNSET:
        return argument
    # argparse holds a default against the choices, and "" is none of them.
    return replace(argument, nargs="?", default=SUPPRESS if parameter.also_option else default or None)


def select(command: Command, arguments: dict[str, Any]) -> Verb:
    """Return the verb that a command's options select.

    :param arguments: name of every argument -> its value.
    """
    flagged = [verb for verb in command.verbs if verb.flag and arguments.get(_flag_name(verb))]
    return flagged[0] if flagged else next(verb for verb in command.verbs if not verb.flag)


def bind(command: Command, verb: Verb, arguments: dict[str, Any]) -> tuple[list[Any], dict[str, Any], list[str]]:
    """Return the positional and the named arguments of a verb's function, and options that are not this verb's."""
    taken = {parameter.name: parameter for parameter in verb.parameters}
    others = [
        argument for argument in command.arguments if argument.name not in taken and verb.flag not in argument.flags
    ]
    # argparse cannot refuse these: verbs that share a command share one parser, with the options of them all.
    foreign = [
        (argument.flags or (argument.metavar,))[-1]
        for argument in others
        if arguments.get(argument.name) != argument.default
    ]
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in taken.items():
        if parameter.is_variadic:
            positional += _without_dashes(arguments[name]) if parameter.takes_rest else arguments[name]
        # By position: a function's required parameters may come before a variadic one.
        elif name in arguments and parameter.default is UNSET:
            positional.append(arguments[name])
        # Not given: the function's own default counts.
        elif arguments.get(name) is not None:
            named[name] = arguments[name]
    return positional, named, foreign


def _without_dashes(words: Sequence[str]) -> list[str]:
    """Return the rest of a command line without the ``--`` that may begin it."""
    return list(words[1:] if list(words[:1]) == ["--"] else words)
