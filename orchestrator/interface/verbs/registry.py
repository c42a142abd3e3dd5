"""The verbs by both their names: as typed in the shell, and as words of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable

COMMANDS = {
    "LaunchInstances": "launch",
    "Status": "status",
    "InstallDeps": "install",
    "RunSingleVMComputing": "run",
    "RunMultiVMComputing": "run --multi",
    "Attach": "attach",
    "Runs": "runs",
    "Logs": "logs",
    "JoinJob": "join",
    "CancelJob": "cancel",
    "FetchResults": "fetch",
    "TerminateAll": "terminate",
    "StopAll": "stop",
    "StartAll": "start",
    "RunExperiment": "experiment",
    "KillAll": "killall",
    "Gpus": "gpus",
    "Run": "exec",
    "Ssh": "ssh",
    "Dashboard": "dashboard",
    "Cost": "cost",
    "Recover": "recover",
    "Extend": "extend",
    "IdleShutdown": "idle",
    "Instances": "instances",
    "RequestLimitIncrease": "quota",
    "RefreshAccess": "access",
    "Config": "config",
}
"""Name in the shell -> command; the order is that of a sitting."""

ALIASES = {"CheckStatus": "Status"}

_NAMES = {command: name for name, command in COMMANDS.items()}
_COMMAND = re.compile(rf"\bstratus ({'|'.join(sorted(_NAMES, key=len, reverse=True))})\b((?: [\w.-]*\d[\w.-]*)?)")
_CALL = re.compile(rf"\b({'|'.join([*COMMANDS, *ALIASES])})\(([^()]*)\)")


def for_command_line(program: str) -> Callable[[str], str]:
    """Return a function that rewrites ``Attach("k3")`` in a line as ``stratus attach k3``.

    :param program: what starts this program, with the options that were given before the verb.
    """

    def command(call: re.Match[str]) -> str:
        words = [_word(word) for word in call[2].split(",") if word.strip()]
        return " ".join([program, COMMANDS[ALIASES.get(call[1], call[1])], *words])

    def reword(line: str) -> str:
        line = line.replace("RunSingleVMComputing() or RunMultiVMComputing()", f"{program} run [--multi]")
        return _CALL.sub(command, _COMMAND.sub(lambda found: f"{program} {found[1]}{found[2]}", line))

    return reword


def for_shell(line: str) -> str:
    """Rewrite ``stratus attach k3`` in a line as ``Attach("k3")``."""

    def call(found: re.Match[str]) -> str:
        argument = found[2].strip()
        return f"{_NAMES[found[1]]}({argument and chr(34) + argument + chr(34)})"

    return _COMMAND.sub(call, line)


def _word(argument: str) -> str:
    """Return ``n=2`` as ``-n 2``, ``yes=True`` as ``--yes``, ``"k3"`` as ``k3``."""
    name, equals, value = argument.strip().partition("=")
    if not equals:
        return name.strip("\"'")
    if value == "True":
        return f"--{name}"
    return f"{'-' if len(name) == 1 else '--'}{name} {value.strip(chr(34) + chr(39))}"
