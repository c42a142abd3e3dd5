"""Fault scenarios: a seed, and faults with a schedule; read from a file that users write.

    [scenario]
    seed = 42

    [no room in 2a]
    fault = no-capacity
    where = us-west-2a / c7i.* / on-demand
    when = until 60 s

docs/scenarios.md describes the format; ``localcloud.scenarios.fault_kinds`` holds the kinds of faults.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localcloud.aws.error_responses import ERRORS
from localcloud.core.errors import LocalCloudError
from localcloud.scenarios import fault_kinds, readers
from localcloud.scenarios.schedule import ALWAYS, Schedule, parse_duration
from localcloud.scenarios.targets import EVERYWHERE, Target

HEAD_SECTION = "scenario"


@dataclass(frozen=True)
class Problem:
    """One mistake in a scenario file.

    :param line: line number; 0 if the whole file is meant.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class ScenarioError(LocalCloudError):
    """A scenario cannot be read; ``problems`` holds every mistake in it, and the message all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True)
class Fault:
    """One fault; ``make_fault`` makes one, checked.

    :param title: name of its section, any text.
    :param times: highest number of triggers; None for no limit.
    :param chance: probability of a trigger when it could, drawn with the scenario's seed.
    :param options: all options of its kind.
    """

    kind: str
    title: str = ""
    when: Schedule = ALWAYS
    where: Target = EVERYWHERE
    times: int | None = None
    chance: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, option: str) -> Any:
        return self.options[option]


@dataclass(frozen=True)
class Scenario:
    """Faults and a seed; the same seed and faults bring the same course of events."""

    seed: int = 0
    faults: tuple[Fault, ...] = ()
    about: str = ""

    def text(self) -> str:
        """Return the file that reads back as this scenario."""
        head = f"[{HEAD_SECTION}]\nseed = {self.seed}\n" + (f"about = {self.about}\n" if self.about else "")
        return "\n".join([head, *(_section_text(fault, index) for index, fault in enumerate(self.faults, start=1))])


def make_fault(kind: str, *, title: str = "", **values: Any) -> Fault:
    """Return a fault of ``kind``; values are those of a file, as text or converted.

        make_fault("error", code="InternalError", action="RunInstances", when="at call 1", applied=True)

    :raises ScenarioError: a value is invalid.
    """
    given_values = {name: value for name, value in values.items() if value is not None}
    section = _Section(
        "fault", 0, title, {"fault": (kind, 0), **{name: (value, 0) for name, value in given_values.items()}}
    )
    fault, problems = _read_fault(section)
    if problems or fault is None:
        raise ScenarioError(problems)
    return fault


def parse(text: str, name: str = "scenario") -> Scenario:
    """Return the scenario in the text of a file called ``name``.

    :raises ScenarioError: with every mistake in it, each with its line.
    """
    sections, problems = _sections(text, name)
    head = next((section for section in sections if section.title == HEAD_SECTION), _Section(name, 0, HEAD_SECTION, {}))
    seed, about, new_problems = _read_head(head)
    problems += new_problems
    faults = []
    for section in sections:
        if section.title != HEAD_SECTION:
            fault, new_problems = _read_fault(section)
            problems += new_problems
            faults += [fault] if fault else []
    if problems:
        raise ScenarioError(sorted(problems, key=lambda problem: problem.line))
    return Scenario(seed, tuple(faults), about)


def load(source: Path | str) -> Scenario:
    """Return the scenario in a file, or in a text with at least one line break.

    :raises ScenarioError: it cannot be read.
    """
    if isinstance(source, str) and "\n" in source:
        return parse(source)
    path = Path(source).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ScenarioError([Problem(str(path), 0, f"cannot be read: {reason}")]) from error
    return parse(text, str(path))


@dataclass
class _Section:
    file: str
    line: int
    title: str
    values: dict[str, tuple[Any, int]]

    def problem(self, message: str, line: int = 0) -> Problem:
        return Problem(self.file, line or self.line, message)


def _sections(text: str, name: str) -> tuple[list[_Section], list[Problem]]:
    sections: list[_Section] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = _strip_comment(line)
        if not content:
            continue
        if heading := re.fullmatch(r"\[(.*)\]", content):
            title = heading[1].strip()
            if any(section.title == title for section in sections):
                problems.append(Problem(name, number, f"duplicate section [{title}]"))
            sections.append(_Section(name, number, title, {}))
        elif problem := _add_line(sections, content, number):
            problems.append(Problem(name, number, problem))
    return sections, problems


def _strip_comment(line: str) -> str:
    """Return a line without its comment; a value in double quotes may contain any character."""
    if quoted := re.fullmatch(r'([^=\[#;]*=)\s*"(.*)"\s*(?:[#;].*)?', line):
        return quoted[1] + quoted[2]
    return re.split(r"(?:^|\s)[#;]", line, maxsplit=1)[0].strip()


def _add_line(sections: list[_Section], line: str, number: int) -> str:
    """Add a line to the last section; return what is wrong with it."""
    key, equals, value = (part.strip() for part in line.partition("="))
    if not equals or not key:
        return f"{line!r} is not a line of a scenario: write key = value"
    if not sections:
        return f"{key} appears before the first [section]"
    if key in sections[-1].values:
        return f"{key} appears twice in [{sections[-1].title}]"
    sections[-1].values[key] = (value, number)
    return ""


def _read_head(section: _Section) -> tuple[int, str, list[Problem]]:
    problems = list(_unknown_keys(section, ("seed", "about")))
    seed, line = section.values.get("seed", ("0", 0))
    # Longer numbers exceed what int() converts.
    if not re.fullmatch(r"-?[0-9]{1,18}", seed):
        problems.append(section.problem(f"seed = {seed}: not a whole number", line))
        seed = "0"
    return int(seed), section.values.get("about", ("", 0))[0], problems


def _read_fault(section: _Section) -> tuple[Fault | None, list[Problem]]:
    name, line = section.values.get("fault", ("", 0))
    kind = fault_kinds.BY_NAME.get(name)
    if kind is None:
        message = f"unknown fault {name!r}{_suggestion(name, fault_kinds.BY_NAME)}" if name else "missing `fault = ...`"
        return None, [section.problem(message, line)]
    problems = list(_unknown_keys(section, ("fault", *_COMMON, *(option.name for option in kind.options))))
    values: dict[str, Any] = {}
    readers = {**_COMMON, **{option.name: option.read for option in kind.options}}
    for key, (value, value_line) in section.values.items():
        if key in readers:
            try:
                values[key] = readers[key](value) if isinstance(value, str) else _convert(key, value, readers[key])
            except ValueError as error:
                problems.append(section.problem(f"{key} = {value}: {error}", value_line))
    problems += _check_combination(section, kind, values)
    common = {key: values.pop(key) for key in _COMMON if key in values}
    options = {option.name: values.get(option.name, option.default) for option in kind.options}
    return Fault(kind.name, section.title, options=options, **common), problems


def _convert(key: str, value: Any, reader: readers.Reader) -> Any:
    """Return a value that came from Python instead of a file."""
    # Before numbers: bool is a subclass of int.
    if isinstance(value, bool):
        return reader("yes" if value else "no")
    if isinstance(value, int | float) and key in ("times", "chance", "seed"):
        return reader(str(value))
    if isinstance(value, int | float):
        return reader(f"{value} s" if reader is parse_duration else str(value))
    if isinstance(value, Mapping):
        return tuple((str(name), str(content)) for name, content in value.items())
    return value


def _check_combination(section: _Section, kind: fault_kinds.FaultKind, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield mistakes that only several values together show."""
    for option in kind.options:
        if option.default is None and option.name not in section.values:
            yield section.problem(f"{kind.name} needs {option.name}: {option.meaning}")
    when, where, code = values.get("when", ALWAYS), values.get("where", EVERYWHERE), values.get("code")
    if when.form not in kind.forms:
        yield section.problem(f"when = {when}: {kind.name} {_WHEN_ADVICE[kind.group]}", section.values["when"][1])
    for aspect in sorted(where.aspects - kind.aspects):
        names = ", ".join(sorted(kind.aspects))
        message = f"where = {where}: {kind.name} has no {aspect}, only {names}"
        yield section.problem(message, section.values["where"][1])
    if kind.name == "error" and code and code not in ERRORS and not values.get("message"):
        message = f"code = {code}: unknown code{_suggestion(code, ERRORS)}; to use it anyway, set message, too"
        yield section.problem(message, section.values["code"][1])


_WHEN_ADVICE = {
    "call": "applies to calls: write at call 3, or from 10 s to 60 s",
    "launch": "applies for a time: write from 10 s to 60 s",
    "account": "applies for a time: write from 10 s to 60 s",
    "machine": "applies to VMs at their launch: write until 60 s, for example",
    "moment": "applies at a moment: write 40 s after launch, or at 40 s",
}


def _unknown_keys(section: _Section, known: Iterable[str]) -> Iterator[Problem]:
    known = tuple(known)
    for key, (_, line) in section.values.items():
        if key not in known:
            yield section.problem(f"unknown key {key!r} in [{section.title}]{_suggestion(key, known)}", line)


def _suggestion(word: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {matches[0]}?" if matches else ""


def _times(value: str) -> int:
    times = readers.whole_number(value)
    if times < 1:
        raise ValueError("must be 1 or more")
    return times


def _chance(value: str) -> float:
    chance = readers.decimal(value)
    if not 0 < chance <= 1:
        raise ValueError("must be above 0 and at most 1")
    return chance


_COMMON: dict[str, readers.Reader] = {
    "when": Schedule.parse,
    "where": Target.parse,
    "times": _times,
    "chance": _chance,
}


def _section_text(fault: Fault, index: int) -> str:
    kind = fault_kinds.BY_NAME[fault.kind]
    lines = [f"[{fault.title or f'{index}: {fault.kind}'}]", f"fault = {fault.kind}"]
    lines += [f"when = {fault.when}"] if fault.when != ALWAYS else []
    lines += [f"where = {fault.where}"] if fault.where != EVERYWHERE else []
    lines += [f"times = {fault.times}"] if fault.times is not None else []
    lines += [f"chance = {fault.chance!r}"] if fault.chance != 1 else []
    for option in kind.options:
        if fault[option.name] != option.default:
            lines.append(f"{option.name} = {_quoted(fault_kinds.format_value(option, fault[option.name]))}")
    return "\n".join([*lines, ""])


def _quoted(value: str) -> str:
    return f'"{value}"' if re.search(r"[#;\"]|^\s|\s$", value) else value
