"""Errors that Stratus raises, with their exit codes.

    StratusError                exit 1   something failed
    ├── UsageError              exit 2   invalid request: wrong verb, host, run, argument
    │   └── ConfigError         exit 2   mistakes in a config file, all at once
    ├── CloudRefused            exit 3   AWS refused (with its own error code)
    ├── NotReady                exit 2   several problems prevent a launch (3 when all are refusals of AWS)
    ├── LeftRunning             exit 4   something is, or may be, still running; it is listed
    ├── JobFailed               exit 1   the job itself failed
    └── HostError               exit 1   one host failed
        ├── ConnectError        exit 1   no SSH session: refused, dropped, no-route, silent, auth, host-key, key-file
        └── HostsFailed         exit 1   some of many hosts failed; holds the error of each

The text of an error is one line (what, where, the provider's code), then, if there is a fix, an indented line with
what to type or edit next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.next_step import Text, Verbatim, advice_of, as_message, split_lines


class StratusError(Exception):
    """Base of all errors.

    ``exit_code`` is what the command line returns, ``json_name`` the ``error`` of ``--output json``: scripts rely on
    both, so every class states its own name and a renamed class keeps it.

    :param message: what went wrong, one line.
    :param where: the file and line, host or resource it happened at.
    :param code: the provider's own error code, kept verbatim.
    :param fix: what to type or edit next; verbs in it are hints, worded when printed.
    """

    exit_code = 1
    json_name = "StratusError"

    def __init__(self, message: str, *, where: str = "", code: str = "", fix: Text = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.code = code
        self.fix = fix

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines()))

    def lines(self) -> list[Text]:
        """Return one line on what went wrong, further ones on details, then the fix, indented."""
        # A file's name may have line breaks: what follows it is part of this line.
        where = "^J".join(self.where.split("\n"))
        line = f"{where}: {self.message}" if where else self.message
        if self.code:
            line += f" ({self.code})"
        fix = ["  " + as_message(self.fix)] if self.fix else []
        # What the failed step has left behind, which may be billed.
        advice = ["  " + as_message(text) for text in advice_of(self)]
        return split_lines([line, *self.detail_lines(), *fix, *advice])

    def detail_lines(self) -> list[Text]:
        """Return the lines between the error's own and its fix."""
        return []


class UsageError(StratusError):
    """The request is invalid as typed."""

    exit_code = 2
    json_name = "UsageError"


@dataclass(frozen=True)
class Problem:
    """One mistake in a config file: its position, and how to correct it."""

    file: str
    line: int
    message: Text

    def __str__(self) -> str:
        """Return ``file:line: message``, the form that editors jump to."""
        return str(self.as_text())

    def as_text(self) -> Text:
        """Return the same, with hints still to be worded."""
        return f"{self.file}:{self.line}: " + self.message


class ConfigError(UsageError):
    """All mistakes of a config file at once."""

    json_name = "ConfigError"

    def __init__(self, problems: Sequence[Problem], *, consequence: str = "Nothing was launched or changed.") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(f"{count} mistake{'s' if count != 1 else ''}. {consequence}".rstrip())

    def lines(self) -> list[Text]:
        """Return one line per mistake, then their number."""
        fix = ["  " + as_message(self.fix)] if self.fix else []
        return [*(problem.as_text() for problem in self.problems), self.message, *fix]


class CloudRefused(StratusError):
    """AWS refused a request; ``code`` is its own error code."""

    exit_code = 3
    json_name = "CloudRefused"


class NotReady(StratusError):
    """All problems that prevent a launch, each with its fix."""

    json_name = "NotReady"

    def __init__(self, problems: Sequence[StratusError]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{len(self.problems)} problems. Nothing was launched.")

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """2, or 3 when all problems are refusals of AWS."""
        return 3 if all(isinstance(problem, CloudRefused) for problem in self.problems) else 2

    def lines(self) -> list[Text]:
        """Return the lines of each problem, then their number."""
        return [*(line for problem in self.problems for line in problem.lines()), self.message]

    @classmethod
    def raise_if_any(cls, problems: Sequence[StratusError]) -> None:
        """Raise the problems, if any; those with the same cause count once.

        :raises StratusError: the only problem.
        :raises NotReady: there are several.
        """
        # One missing permission or credential makes many lookups fail: the same code and fix mean the same cause.
        by_cause = {
            (type(problem), problem.code, problem.fix) if problem.fix else id(problem): problem for problem in problems
        }
        distinct = list(by_cause.values())
        if len(distinct) == 1:
            raise distinct[0]
        if distinct:
            raise cls(distinct)


class LeftRunning(StratusError):
    """Something is still running, or its state is unknown; ``left`` lists it."""

    exit_code = 4
    json_name = "LeftRunning"

    def __init__(self, message: str, *, left: Sequence[Text], fix: Text = "") -> None:
        super().__init__(message, fix=fix)
        self.left = tuple(left)

    def detail_lines(self) -> list[Text]:
        """Return one line for each thing left."""
        return ["  " + as_message(item) for item in self.left]


class JobFailed(StratusError):
    """The job failed; ``tail`` holds its last lines.

    :param exit_status: the job's own; None if it was lost or killed without one.
    :param run_id: of the run; empty if it is not known.
    :param state: of the run: ``failed``, ``timeout``, ``cancelled``, ``lost``.
    """

    json_name = "JobFailed"

    def __init__(
        self,
        message: str,
        *,
        exit_status: int | None,
        where: str = "",
        tail: Sequence[str] = (),
        fix: Text = "",
        run_id: str = "",
        state: str = "failed",
    ) -> None:
        super().__init__(message, where=where, fix=fix)
        self.run_id = run_id
        self.state = state
        self.exit_status = exit_status
        self.tail = tuple(tail)

    def detail_lines(self) -> list[Text]:
        """Return the job's last lines."""
        return [Verbatim(f"  | {line}") for line in self.tail]


class HostError(StratusError):
    """One host failed; ``where`` is its name."""

    json_name = "HostError"


class ConnectError(HostError):
    """No SSH session could be established.

    :param kind: ``refused`` (nothing listens: booting), ``dropped`` (packets vanish: security group or address),
        ``no-route``, ``silent`` (accepts, but does not respond: hung), ``auth`` (user or key), ``host-key`` (not the
        host that was launched), ``key-file`` (the local private key cannot be used), ``lost`` (ended after it was up).
    """

    json_name = "ConnectError"

    def __init__(self, kind: str, message: str, *, where: str = "", fix: Text = "") -> None:
        super().__init__(message, where=where, fix=fix)
        self.kind = kind


class HostsFailed(HostError):
    """Some of many hosts failed; ``errors`` maps each failed host's name to its error."""

    json_name = "HostsFailed"

    def __init__(self, message: str, errors: Mapping[str, Exception], *, fix: Text = "") -> None:
        super().__init__(message, fix=fix)
        self.errors = dict(errors)

    def detail_lines(self) -> list[Text]:
        """Return every failed host with its own error."""
        return ["  " + as_message(line) for name, error in self.errors.items() for line in _of_host(name, error)]


def _of_host(name: str, error: Exception) -> list[Text]:
    # The text of a host's own error begins with its name already.
    lines = error.lines() if isinstance(error, StratusError) else split_lines([str(error)])
    return lines if str(lines[0]).startswith(name) else [f"{name}: " + as_message(lines[0]), *lines[1:]]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, which says what went wrong; its class for an error without a text."""
    return next(iter(str(error).splitlines()), type(error).__name__)
