"""The parser of the command line: the program's own options, and the commands of the verbs. It performs nothing."""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import Text
from orchestrator.core.version import __version__
from orchestrator.interface.cli.commands import Argument, Command
from orchestrator.interface.verbs import help as verb_help
from orchestrator.interface.verbs.sagemaker import sdk_names

DESCRIPTION = "Machine-learning jobs on EC2, on one VM or on many: launch, install, run, fetch, terminate."

EPILOG = """\
Without a verb: the shell. -c 'LaunchInstances(2); InstallDeps()' runs statements of the shell and exits.
rehearse FILE: play a scenario of faults (docs/scenarios.md) against your config, on the embedded cloud.

exit codes:
  0    ok
  1    the job or a VM failed
  2    usage or config
  3    the cloud refused
  4    something is left running: it is listed
  130  Ctrl-C; 143 SIGTERM, 129 closed terminal
"""

OUTPUT_HELP = "json: one document on stdout, everything else on stderr"
STATEMENTS_HELP = "run statements of the shell and exit; does not ask for confirmation of prices"
BEFORE_THE_VERB = ("--local", "--config")


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises its errors instead of exiting: exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, fix=f"{self.prog} --help")


class _Store(argparse.Action):
    """Storage of a value that is not empty: in a script, an empty one is a variable that is not set."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        # Words of a command for a VM may be empty, if not all of them are.
        rest = [" ".join(values)] if self.nargs == argparse.REMAINDER and values else values
        if any(isinstance(value, str) and not value.strip() for value in (rest if isinstance(rest, list) else [rest])):
            name = option_string or str(self.metavar)
            parser.error(f"{name} is empty: give it a value" + (", or leave it out" if not self.required else ""))
        setattr(namespace, self.dest, values)


def _file(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: give it a value, or leave it out")
    return Path(text)


def parse(argv: Sequence[str], commands: Sequence[Command], program: str) -> argparse.Namespace:
    """Return the options of a command line; ``verb`` is the command's name as typed, None without one.

    :raises UsageError: it cannot be understood.
    """
    parser = build(commands, program)
    at = verb_at(argv)
    names = {name for command in commands for name in (command.name, *command.aliases)}
    # Before argparse, whose own message lists all verbs and suggests none.
    if at < len(argv) and argv[at] not in names:
        raise UsageError(f"{argv[at]}: no such verb.{_suggestion(argv[at], commands)}", fix=f"{program} --help")
    # Not parse_args(): an option in the wrong place gets a message of its own.
    options, unknown = parser.parse_known_args(argv)
    if late := [name for name in BEFORE_THE_VERB if name in unknown]:
        raise UsageError(f"{late[0]} goes before the verb", fix=f"{program} {shlex.join(_moved(argv, at))}")
    if unknown:
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)}", fix=_fix(options, unknown, program))
    return options


def _fix(options: argparse.Namespace, unknown: list[str], program: str) -> Text:
    """Return what to type instead of arguments that a verb does not have."""
    if len(unknown) == 1 and unknown[0].isdecimal() and hasattr(options, "n"):
        return f"{program} {options.verb} -n {unknown[0]}"
    job = getattr(options, "job", "")
    place = sdk_names.instead_of(unknown)
    if job and (Path(job.split()[0]).suffix or not place):
        # Options after a script are the script's own, which the shell has to pass on in one piece.
        return f"{program} {options.verb} {shlex.quote(' '.join([job, *unknown]))}   passes them to the script"
    return place or f"{program} {options.verb} --help"


def _moved(argv: Sequence[str], at: int) -> list[str]:
    """Return a command line with the program's own options before the verb.

    :param at: position of the verb.
    """
    before, after = list(argv[:at]), []
    rest = iter(argv[at:])
    for word in rest:
        if word.partition("=")[0] not in BEFORE_THE_VERB:
            after.append(word)
            continue
        before.append(word)
        if word == "--config":
            before += [next(rest, "FILE")]
    return before + after


def _suggestion(word: str, commands: Sequence[Command]) -> str:
    """Return `` Did you mean launch?`` for a word that resembles a command, or is a verb's name at the prompt."""
    from orchestrator.config import ini

    at_prompt = {
        name.lower(): " ".join(filter(None, [command.name, verb.flag]))
        for command in commands
        for verb in command.verbs
        for name in (verb.name, *verb.aliases)
    }
    if word.lower() in at_prompt:
        return f" Did you mean {at_prompt[word.lower()]}?"
    return ini.suggest(word, sorted({name for command in commands for name in (command.name, *command.aliases)}))


def verb_at(argv: Sequence[str]) -> int:
    """Return the position of the verb in a command line; its length when there is none."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        # These take a value, which must not be mistaken for the verb.
        at += 2 if argv[at] in ("--config", "--output", "-c") else 1
    return min(at, len(argv))


def build(commands: Sequence[Command], program: str = "stratus") -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    # No abbreviations: one that works today is ambiguous once an option is added.
    top = _Parser(
        prog=program,
        description=_wrapped(DESCRIPTION),
        epilog=_wrapped(EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation in a script would become ambiguous with the next option that begins like it.
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"stratus {__version__}")
    for argument, options in TOP_OPTIONS:
        top.add_argument(*argument, **options)
    verbs = top.add_subparsers(metavar="VERB", title="verbs", dest="verb", parser_class=_Parser)
    for command in commands:
        _add(verbs, command)
    return top


TOP_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--config",), {"type": _file, "metavar": "FILE", "help": "default: config/config.ini, else config.ini"}),
    (("--local",), {"action": "store_true", "help": "the embedded cloud on this computer: no account, no cost"}),
    (("--output",), {"choices": ["text", "json"], "default": "text", "help": OUTPUT_HELP}),
    (("-c",), {"metavar": "STATEMENTS", "dest": "statements", "help": STATEMENTS_HELP}),
)


def _add(verbs: Any, command: Command) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        command.name,
        aliases=list(command.aliases),
        help=_escaped(command.help),
        description=_escaped(_wrapped(verb_help.reflowed(command.description))),
        epilog=_escaped(_wrapped(command.epilog)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Accepted after the verb as well; SUPPRESS keeps what was given before it.
    parser.add_argument("--output", choices=["text", "json"], default=argparse.SUPPRESS, help=OUTPUT_HELP)
    for argument in command.arguments:
        _add_argument(parser, argument)


def _add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    options: dict[str, Any] = {"help": _escaped(argument.help)}
    if argument.is_flag:
        parser.add_argument(*argument.flags, dest=argument.name, action="store_true", **options)
        return
    options |= {"metavar": argument.metavar, "default": argument.default, "action": _Store}
    options |= {"type": argument.parse} if argument.parse else {}
    options |= {"nargs": argument.nargs} if argument.nargs else {}
    options |= {"choices": argument.choices} if argument.choices else {}
    if argument.flags:
        parser.add_argument(*argument.flags, dest=argument.name, **options)
    else:
        positional = parser.add_argument(argument.name, **options)
        # argparse lists the rest of a line as required, which it is not.
        positional.required = positional.required and argument.nargs != argparse.REMAINDER


def _wrapped(text: str) -> str:
    # argparse's own filling would join the lines of examples; it leaves two columns free as well.
    width = shutil.get_terminal_size().columns - 2
    return "\n".join("".join(row) for line in text.split("\n") for row in verb_help.wrapped(line, width))


def _escaped(text: str) -> str:
    # argparse formats help with the % operator.
    return text.replace("%", "%%")
