"""A bad day as a value: a seed, and faults on a timetable; read from a file that users write.

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
from localcloud.scenarios import fault_kinds
from localcloud.scenarios.schedule import ALWAYS, Schedule, parse_duration
from localcloud.scenarios.targets import EVERYWHERE, Target

HEAD_SECTION = "scenario"


@dataclass(frozen=True)
class Problem:
    """One mistake in a scenario file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class ScenarioError(LocalCloudError):
    """A scenario cannot be read; ``problems`` holds every mistake in it, and the text all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong; ``fault`` makes one, checked.

    :param title: the name of its section, free words.
    :param times: how often it strikes at most; None for no limit.
    :param chance: of striking when it could, drawn from the scenario's seed.
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
    """A day: the same seed and faults bring the same day again."""

    seed: int = 0
    faults: tuple[Fault, ...] = ()
    about: str = ""

    def text(self) -> str:
        """The file that says this."""
        head = f"[{HEAD_SECTION}]\nseed = {self.seed}\n" + (f"about = {self.about}\n" if self.about else "")
        return "\n".join([head, *(_section_text(fault, index) for index, fault in enumerate(self.faults, start=1))])


def make_fault(kind: str, *, title: str = "", **values: Any) -> Fault:
    """A fault of ``kind``; values are those of a file, as text or as what the text stands for.

        fault("error", code="InternalError", action="RunInstances", when="at call 1", applied=True)

    :raises ScenarioError: something in it makes no sense.
    """
    text = {name: value for name, value in values.items() if value is not None}
    section = _Section("fault", 0, title, {"fault": (kind, 0), **{name: (value, 0) for name, value in text.items()}})
    made, problems = _read_fault(section)
    if problems or made is None:
        raise ScenarioError(problems)
    return made


def parse(text: str, name: str = "scenario") -> Scenario:
    """Read a scenario from the text of a file called ``name``.

    :raises ScenarioError: with every mistake in it, each with its line.
    """
    sections, problems = _sections(text, name)
    head = next((section for section in sections if section.title == HEAD_SECTION), _Section(name, 0, HEAD_SECTION, {}))
    seed, about, wrong = _read_head(head)
    problems += wrong
    made = []
    for section in sections:
        if section.title != HEAD_SECTION:
            one, wrong = _read_fault(section)
            problems += wrong
            made += [one] if one else []
    if problems:
        raise ScenarioError(sorted(problems, key=lambda problem: problem.line))
    return Scenario(seed, tuple(made), about)


def load(source: Path | str) -> Scenario:
    """Read a scenario from a file, or from text with at least one line break.

    :raises ScenarioError: it cannot be read.
    """
    if isinstance(source, str) and "\n" in source:
        return parse(source)
    path = Path(source).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ScenarioError([Problem(str(path), 0, f"cannot be read: {why}")]) from error
    return parse(text, str(path))


@dataclass
class _Section:
    file: str
    line: int
    title: str
    values: dict[str, tuple[Any, int]]

    def problem(self, what: str, line: int = 0) -> Problem:
        return Problem(self.file, line or self.line, what)


def _sections(text: str, name: str) -> tuple[list[_Section], list[Problem]]:
    sections: list[_Section] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        bare = _strip_comment(line)
        if not bare:
            continue
        if found := re.fullmatch(r"\[(.*)\]", bare):
            title = found[1].strip()
            if any(section.title == title for section in sections):
                problems.append(Problem(name, number, f"there is a section [{title}] already"))
            sections.append(_Section(name, number, title, {}))
        elif problem := _add_line(sections, bare, number):
            problems.append(Problem(name, number, problem))
    return sections, problems


def _strip_comment(line: str) -> str:
    """A line without its comment; a value in double quotes may hold anything."""
    if quoted := re.fullmatch(r'([^=\[#;]*=)\s*"(.*)"\s*(?:[#;].*)?', line):
        return quoted[1] + quoted[2]
    return re.split(r"(?:^|\s)[#;]", line, maxsplit=1)[0].strip()


def _add_line(sections: list[_Section], line: str, number: int) -> str:
    """Put one line into the last section; returns what is wrong with it."""
    key, equals, value = (part.strip() for part in line.partition("="))
    if not equals or not key:
        return f"{line!r} is no line of a scenario: write key = value"
    if not sections:
        return f"{key} stands before the first [section]"
    if key in sections[-1].values:
        return f"{key} is given twice in [{sections[-1].title}]"
    sections[-1].values[key] = (value, number)
    return ""


def _read_head(section: _Section) -> tuple[int, str, list[Problem]]:
    problems = list(_unknown_keys(section, ("seed", "about")))
    seed, line = section.values.get("seed", ("0", 0))
    if not re.fullmatch(r"-?\d+", seed):
        problems.append(section.problem(f"seed = {seed}: it is a whole number", line))
        seed = "0"
    return int(seed), section.values.get("about", ("", 0))[0], problems


def _read_fault(section: _Section) -> tuple[Fault | None, list[Problem]]:
    name, line = section.values.get("fault", ("", 0))
    kind = fault_kinds.BY_NAME.get(name)
    if kind is None:
        what = (
            f"there is no fault {name!r}{_suggestion(name, fault_kinds.BY_NAME)}"
            if name
            else "it says no `fault = ...`"
        )
        return None, [section.problem(what, line)]
    problems = list(_unknown_keys(section, ("fault", *_COMMON, *(option.name for option in kind.options))))
    values: dict[str, Any] = {}
    readers = {**_COMMON, **{option.name: option.read for option in kind.options}}
    for key, (value, at) in section.values.items():
        if key in readers:
            try:
                values[key] = readers[key](value) if isinstance(value, str) else _convert(key, value, readers[key])
            except ValueError as error:
                problems.append(section.problem(f"{key} = {value}: {error}", at))
    problems += _check_combination(section, kind, values)
    common = {key: values.pop(key) for key in _COMMON if key in values}
    options = {option.name: values.get(option.name, option.default) for option in kind.options}
    return Fault(kind.name, section.title, options=options, **common), problems


def _convert(key: str, value: Any, reader: fault_kinds.Reader) -> Any:
    """A value that came from Python instead of a file."""
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
    """What the values say together."""
    for option in kind.options:
        if option.default is None and option.name not in section.values:
            yield section.problem(f"{kind.name} needs {option.name}: {option.meaning}")
    when, where, code = values.get("when", ALWAYS), values.get("where", EVERYWHERE), values.get("code")
    if when.form not in kind.forms:
        yield section.problem(f"when = {when}: {kind.name} {_WHEN_ADVICE[kind.group]}", section.values["when"][1])
    for aspect in sorted(where.aspects - kind.aspects):
        names = ", ".join(sorted(kind.aspects))
        what = f"where = {where}: {kind.name} knows no {aspect}, only {names}"
        yield section.problem(what, section.values["where"][1])
    if kind.name == "error" and code and code not in ERRORS and not values.get("message"):
        what = f"code = {code}: not known here{_suggestion(code, ERRORS)}; give its message too if you mean it"
        yield section.problem(what, section.values["code"][1])


_WHEN_ADVICE = {
    "call": "strikes calls: say at call 3, or from 10 s to 60 s",
    "launch": "is in force for a time: say from 10 s to 60 s",
    "account": "is in force for a time: say from 10 s to 60 s",
    "machine": "befalls machines at their launch: say which launches, as in until 60 s",
    "moment": "strikes at a moment: say 40 s after launch, or at 40 s",
}


def _unknown_keys(section: _Section, known: Iterable[str]) -> Iterator[Problem]:
    known = tuple(known)
    for key, (_, line) in section.values.items():
        if key not in known:
            yield section.problem(f"there is no key {key!r} in [{section.title}]{_suggestion(key, known)}", line)


def _suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""


def _times(value: str) -> int:
    times = fault_kinds.whole_number(value)
    if times < 1:
        raise ValueError("it is 1 or more")
    return times


def _chance(value: str) -> float:
    chance = fault_kinds.decimal(value)
    if not 0 < chance <= 1:
        raise ValueError("it lies above 0 and is at most 1")
    return chance


_COMMON: dict[str, fault_kinds.Reader] = {
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
