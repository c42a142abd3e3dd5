"""The IPython extension: the verbs in a shell or notebook of the user's own, and ``%stratus`` to choose their cloud."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.core.version import __version__
from orchestrator.interface.cli import commands, parser
from orchestrator.interface.cli.invocation import Setup
from orchestrator.interface.console import Console
from orchestrator.interface.shell import app
from orchestrator.interface.shell.app import IPythonShell
from orchestrator.interface.workspace import Workspace

SetupFor = Callable[[Sequence[str], str], Setup]
"""Returns the circumstances of a command line; its arguments: the words, and what starts the program."""

_extensions: list[Extension] = []


class Extension:
    """The verbs in one IPython, and the magic that chooses their cloud and config.

    :param ip: IPython's own shell object, of a terminal or of a notebook.
    """

    def __init__(self, ip: Any, setup_for: SetupFor) -> None:
        self.ip = ip
        self.setup_for = setup_for
        self.is_local = False
        self.shell = self._shell(setup_for([], "stratus"), None)

    def choose(self, line: str) -> None:
        """Use the cloud and the config of a command line without a verb.

        :raises UsageError: the line holds more than these options.
        """
        arguments = _split(line)
        setup = self.setup_for(arguments, "stratus")
        options = parser.parse(arguments, commands.commands(setup.registry, setup.program), "%stratus")
        if options.verb or options.statements:
            raise _not_an_option(line)
        # The process's environment names the embedded cloud from then on: the verbs would silently stay there.
        if self.is_local and not options.local:
            raise UsageError("this session is on the embedded cloud", fix="restart the kernel to use AWS")
        # Before the verbs that work are removed: the embedded cloud may fail to start.
        setup.prepare()
        self.is_local = options.local
        self.shell.remove()
        self.shell = self._shell(setup, options.config)
        self.shell.workspace.console.print(app.banner(self.shell.workspace, setup.registry, __version__))

    def _shell(self, setup: Setup, config: Path | None) -> IPythonShell:
        console = Console(can_ask=True, program=setup.program)
        workspace = Workspace(config or setup.config, console, REAL_CLOCK, adapt=setup.adapt)
        return IPythonShell(self.ip, workspace, setup.registry)


def _split(line: str) -> list[str]:
    """Return the arguments of the magic.

    :raises UsageError: a quote is not closed, or argparse would print something and end the kernel's cell.
    """
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%stratus {line}: {error}") from None
    if {"-h", "--help", "--version"} & set(arguments):
        raise _not_an_option(line)
    return arguments


def _not_an_option(line: str) -> UsageError:
    return UsageError(f"%stratus {line}: takes --local and --config FILE", fix=f"!stratus {line}")


def load(ip: Any, setup_for: SetupFor) -> None:
    """Add the verbs to a running IPython, and the magic ``%stratus``.

    :param setup_for: makes the circumstances of ``%stratus --local`` and the like.
    """
    unload(ip)
    extension = Extension(ip, setup_for)
    _extensions.append(extension)

    def stratus(line: str) -> None:
        """Choose the cloud and the config of the verbs.

        %stratus --local            the embedded cloud on this computer: no account, no cost
        %stratus --config FILE      another config file
        %stratus                    AWS, with config/config.ini or config.ini
        """
        extension.choose(line)

    ip.register_magic_function(stratus, "line")


def unload(ip: Any) -> None:
    """Remove the verbs from an IPython again."""
    for extension in [extension for extension in _extensions if extension.ip is ip]:
        extension.shell.remove()
        _extensions.remove(extension)
