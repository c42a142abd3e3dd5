"""INI reader that keeps the line of every value and reports every mistake, not just the first.

The rules, which hold for config.ini and job.ini alike:

- UTF-8, with or without a byte order mark. ``[section]``, then ``name = value`` or ``name: value``; case is free.
- ``#`` or ``;`` begins a comment at the start of a line or after a blank; elsewhere both belong to the value.
- ``${VAR}``, ``${VAR:-default}`` and ``${VAR:?message}`` come from the environment, as in a shell; not ``$VAR``.
- An indented line continues the option above it if that option takes several lines. Elsewhere it is a mistake:
  the usual INI parsers would make it part of the value above, name and all.
- A verbatim option (a shell command) is taken as typed: no comments, no variables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.core.errors import Problem
from orchestrator.core.next_step import Text, join

Key = tuple[str, str]

#: Upper bound of a config file; anything larger was named by mistake (a disk image, ``/dev/zero``).
MAX_FILE_BYTES = 1 << 20

# Compiled on first use: `--help` imports this module and reads no file.
_HEADER = r"\[([^\]]*)\]\s*(.*)"
# A colon before a slash belongs to a URL or a path, not to `name: value`.
_OPTION = r"(?P<name>[^\s=:\[#;][^=:]*?)\s*(?:=|:(?![/\\]))\s*(?P<value>.*)"
_KEY_LIKE = r"[A-Za-z_][\w-]*\s*(?:=|:(?![/\\]))"
_COMMENT = r"(?:^|(?<=\s))[#;].*"
_VARIABLE = r"\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<rule>:?[-?])(?P<rest>[^{}]*))?\})?"


@dataclass(frozen=True)
class Layout:
    """Properties of options that the reader of a file needs.

    :param multiline: options that continue over indented lines.
    :param verbatim: options taken as typed: no comments, no variables.
    :param known_options: section -> names of its options; only for better error messages.
    :param hint: sentence on how to get such a file, shown when there is none.
    """

    multiline: frozenset[Key] = frozenset()
    verbatim: frozenset[Key] = frozenset()
    known_options: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hint: Text = ""


@dataclass(frozen=True)
class Value:
    """One value and its position in the file.

    :param text: trimmed, with variables expanded; lines of a multi-line value are joined by newlines.
    :param line: counted from 1.
    :param name: of the option, in its original case.
    :param broken: True if a mistake in it has been reported.
    """

    text: str = field(repr=False)
    line: int
    section: str
    name: str
    broken: bool = False

    @property
    def label(self) -> str:
        """``[section] Name``, as messages name it."""
        return f"[{self.section}] {self.name}"


@dataclass(frozen=True)
class Document:
    """Content of a file, before it is interpreted.

    :param values: (section, option), both in lower case -> value.
    :param sections: section -> line of its header.
    :param subjects: line -> option that it sets, or seems to set, in lower case; ``[section]`` for a header that
        appears again.
    """

    path: Path
    values: Mapping[Key, Value]
    sections: Mapping[str, int]
    problems: tuple[Problem, ...]
    subjects: Mapping[int, str] = field(default_factory=dict)


Refuse = Callable[[str, str], str]
"""Returns why a file may not use a variable of the environment; empty if it may."""


def read(
    path: Path, env: Mapping[str, str], layout: Layout | None = None, *, refuse: Refuse = lambda name, value: ""
) -> Document:
    """Read a file; mistakes in it are not raised, they are in ``problems``.

    :param env: environment that variables are looked up in.
    :param refuse: returns why the file may not use a variable; empty if it may.
    """
    layout = layout or Layout()
    lines, problems = _lines(path, layout)
    scanner = _Scanner(str(path), layout, problems)
    for number, line in enumerate(lines, 1):
        scanner.read_line(number, line)
    values = dict(_expanded_values(scanner, env, refuse))
    return Document(path, values, scanner.sections, tuple(problems), scanner.subjects)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean X?`` for the nearest known word, or nothing; case and ``-`` or ``_`` do not count."""
    near = nearest(word, known)
    return f" Did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str], *, similarity: float = 0.6) -> str:
    """Return the nearest known word, or nothing; case and ``-`` or ``_`` do not count.

    :param similarity: least share of letters in common, 0 to 1. 0.6 is difflib's own default: it finds transposed
        letters and leaves unrelated names out.
    """
    # Imported here: it takes 2 ms, which only files with mistakes need.
    from difflib import get_close_matches

    plain = {_plain(name): name for name in known}
    near = get_close_matches(_plain(word), plain, n=1, cutoff=similarity)
    return plain[near[0]] if near else ""


def _plain(word: str) -> str:
    return re.sub(r"[\s-]+", "_", word.strip().lower())


def _lines(path: Path, layout: Layout) -> tuple[list[bytes], list[Problem]]:
    """Return the file's lines, or no lines and the problem."""
    try:
        with path.open("rb") as file:
            # Bounded: the size of a device or pipe is unknown before it is read.
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return [], [Problem(str(path), 1, _unreadable(path, layout, error))]
    line, complaint = _not_text(data)
    if complaint:
        return [], [Problem(str(path), line, complaint)]
    # Windows editors write a byte order mark and CR LF.
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.split(b"\n"), []


def _unreadable(path: Path, layout: Layout, error: Exception) -> Text:
    if isinstance(error, FileNotFoundError):
        near = suggest(path.name, sorted(other.name for other in path.parent.glob("*.ini")))
        return join(" ", [f"no such file.{near}", layout.hint] if layout.hint else [f"no such file.{near}"])
    if isinstance(error, IsADirectoryError):
        return "is a folder; give the file in it"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _not_text(data: bytes) -> tuple[int, str]:
    """Return the line and the reason why these bytes are not a config file; an empty reason if they may be one."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return 1, "is UTF-16, not UTF-8: save the file as UTF-8"
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        return line, "contains NUL bytes: it is not a UTF-8 text file (UTF-16 without a byte order mark, or binary)"
    if len(data) > MAX_FILE_BYTES:
        return 1, f"is larger than {MAX_FILE_BYTES >> 20} MiB: it is not a config file"
    return 1, ""


@dataclass
class _Entry:
    """An option while its lines are being read."""

    key: Key
    name: str
    line: int
    indent: int
    lines: list[str]
    broken: bool = False

    @property
    def label(self) -> str:
        return f"[{self.key[0]}] {self.name}"


class _Scanner:
    """State machine over the lines of a file: the current section and option."""

    def __init__(self, file: str, layout: Layout, problems: list[Problem]) -> None:
        self.file = file
        self.layout = layout
        self.problems = problems
        self.sections: dict[str, int] = {}
        self.entries: dict[Key, _Entry] = {}
        self.subjects: dict[int, str] = {}
        self.section: str | None = None
        self.current: _Entry | None = None

    def add_problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, message))

    def read_line(self, number: int, raw: bytes) -> None:
        """Process one line."""
        # Decoded line by line: one bad byte affects one line, whose number is known.
        line, broken = raw.decode("utf-8", "replace"), False
        text = line.strip()
        if not text or text[0] in "#;":
            return
        complaint = _bad_bytes(raw) or bad_character(text)
        if complaint:
            self.add_problem(number, complaint)
            broken = True
        indent = len(line) - len(line.lstrip())
        if self.current and indent > self.current.indent:
            self._indented(number, text, self.current)
        elif text[0] == "[":
            self._header(number, text)
        else:
            self._option(number, text, indent)
        if broken and self.current:
            self.current.broken = True

    def _header(self, number: int, text: str) -> None:
        self.current = None
        # The comment goes first: one that starts inside the brackets leaves a header without its end.
        match = re.fullmatch(_HEADER, re.sub(_COMMENT, "", text, count=1).strip())
        name = (match[1] if match else re.split(r"[#;=]", text[1:])[0]).strip().lower()
        if match is None:
            self.add_problem(number, f"[{name}: section header without closing ]")
        elif match[2] and match[2][0] not in "#;":
            self.add_problem(number, f"[{name}]: start a new line after the section header")
        self.section = name
        if not name:
            self.add_problem(number, "[]: a section needs a name")
        elif self.sections.setdefault(name, number) != number:
            self.add_problem(number, f"[{name}]: appears again (first in line {self.sections[name]}); merge the two")
            if match and not match[2]:
                self.subjects[number] = f"[{name}]"

    def _option(self, number: int, text: str, indent: int) -> None:
        self.current = None
        match = re.fullmatch(_OPTION, text)
        if match is None or re.search(_COMMENT, match["name"]):
            self.add_problem(number, self._no_equals(text))
            self.subjects[number] = text.split()[0].lower()
            return
        name = match["name"]
        self.subjects[number] = name.lower()
        if self.section is None:
            sections = [section for section, names in self.layout.known_options.items() if name.lower() in names]
            self.add_problem(
                number, f"{name}: appears before any section; put it under [{sections[0] if sections else 'section'}]"
            )
            return
        key = (self.section, name.lower())
        self.current = _Entry(key, name, number, indent, [self._value(key, match["value"])])
        if first := self.entries.get(key):
            self.add_problem(
                number, f"{self.current.label}: set again (first in line {first.line}); keep one of the two"
            )
        # The first one is used; the second is only reported.
        self.entries.setdefault(key, self.current)

    def _no_equals(self, text: str) -> str:
        # Only the first word is shown: the rest of the line may be a secret.
        word = text.split()[0]
        if word.lower() in self.layout.known_options.get(self.section or "", ()):
            return f"[{self.section}] {word}: no = in this line; write {word} = ..."
        return f"{word}: not a [section], name = value or comment (#)"

    def _indented(self, number: int, text: str, above: _Entry) -> None:
        """Process a line that is indented further than the option above it."""
        multiline = above.key in self.layout.multiline
        if self._is_own_line(text, above, multiline=multiline):
            word = re.split(r"[\s=:]", text)[0]
            hint = "remove the blanks before it"
            self.add_problem(
                number, f"{word}: is indented, so it would become part of {above.label} in line {above.line}; {hint}"
            )
            self._header(number, text) if text[0] == "[" else self._option(number, text, above.indent)
            return
        self.subjects[number] = above.key[1]
        if multiline:
            above.lines.append(self._value(above.key, text))
        else:
            self.add_problem(number, f"{above.label} takes one line, but this indented line continues it")

    def _is_own_line(self, text: str, above: _Entry, *, multiline: bool) -> bool:
        """Return True for an indented line that was meant as a line of its own."""
        if not multiline:
            return text[0] == "[" or bool(re.match(_KEY_LIKE, text))
        # NAME=value is a valid line of a multi-line option; only names of known options are suspect.
        match = re.fullmatch(_OPTION, text)
        return match is not None and match["name"] in self.layout.known_options.get(above.key[0], ())

    def _value(self, key: Key, text: str) -> str:
        return text.strip() if key in self.layout.verbatim else re.sub(_COMMENT, "", text, count=1).strip()


def _bad_bytes(raw: bytes) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} is not UTF-8: save the file as UTF-8"
    return ""


def bad_character(text: str) -> str:
    """Return a complaint about the first invisible character, or nothing.

    Control characters can rewrite a terminal, direction marks can display another value than the one in use, and
    zero-width blanks are copied along with values from web pages.
    """
    for character in text:
        if character != "\t" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
            return f"contains an invisible character (U+{ord(character):04X}): retype this line"
    return ""


def _expanded_values(scanner: _Scanner, env: Mapping[str, str], refuse: Refuse) -> Iterator[tuple[Key, Value]]:
    """Yield the values of all options, with variables expanded."""
    for key, entry in scanner.entries.items():
        text = "\n".join(line for line in entry.lines if line)
        value = Value(text, entry.line, key[0], entry.name, entry.broken)
        # A verbatim option is a shell command: its ${...} belongs to the shell.
        if "${" in text and key not in scanner.layout.verbatim:
            text, complaints = expand_variables(text, env, refuse)
            for complaint in complaints:
                scanner.add_problem(entry.line, f"{entry.label}: {complaint}")
            # Trimmed again: the variable's own value may have blanks at its ends.
            value = replace(value, text=text.strip(), broken=value.broken or bool(complaints))
        yield key, value


def expand_variables(
    text: str, env: Mapping[str, str], refuse: Refuse = lambda name, value: ""
) -> tuple[str, list[str]]:
    """Expand ``${VAR}``, ``${VAR:-default}`` and ``${VAR:?message}``.

    As in a shell, the colon means "unset or empty"; ``${VAR-default}`` without it accepts an empty variable. Values of
    variables are not expanded again.

    :param refuse: returns why a variable may not be used; empty if it may.
    :return: the text, and a complaint for each variable that could not be expanded.
    """
    complaints: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name = match["name"] or ""
        reason = refuse(name, env.get(name, ""))
        value, complaint = ("", reason) if reason else _variable(match, env)
        if complaint:
            complaints.append(complaint)
        return value

    return re.sub(_VARIABLE, fill, text), complaints


def _variable(match: re.Match[str], env: Mapping[str, str]) -> tuple[str, str]:
    name, rule, rest = match["name"], match["rule"] or "", match["rest"]
    if name is None:
        return "", "${ without a variable name and closing }; write ${NAME} or ${NAME:-default}"
    value = env.get(name)
    if value is not None and (value or not rule.startswith(":")):
        return value, f"${{{name}}} {complaint}" if (complaint := bad_character(value)) else ""
    if rule.endswith("-"):
        return rest, ""
    return "", f"{name} is not set: {rest}" if rest else f"{name} is not set: export {name}=... or ${{{name}:-default}}"


def option_names(document: Document, section: str) -> Collection[str]:
    """Return the option names of a section, in the file's order."""
    return [name for other, name in document.values if other == section]
