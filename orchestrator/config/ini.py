"""Read INI files so that nothing is lost: every value knows its line, and every mistake is kept, not just the first.

The rules, which hold for config.ini and job.ini alike:

- UTF-8, with or without a byte order mark. ``[section]``, then ``name = value`` or ``name: value``; case is free.
- ``#`` or ``;`` begins a comment at the start of a line or after a blank; elsewhere both belong to the value.
- ``${VAR}``, ``${VAR:-default}`` and ``${VAR:?message}`` come from the environment, as in a shell; not ``$VAR``.
- An indented line goes on with the option above it where that option takes several lines. Elsewhere it is a mistake:
  the usual INI parsers would swallow it, key and all.
- A verbatim option (a shell command) is taken as typed: no comments, no variables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.core.errors import Problem

Key = tuple[str, str]

#: No config file is that long; what is, was named by mistake (a disk image, ``/dev/zero``).
MAX_FILE_BYTES = 1 << 20

# Compiled when first used: whoever imports this for `--help` reads no file.
_HEADER = r"\[([^\]]*)\]\s*(.*)"
_OPTION = r"(?P<name>[^\s=:\[#;][^=:]*?)\s*(?:=|:(?![/\\]))\s*(?P<value>.*)"
_KEY_LIKE = r"[A-Za-z_][\w-]*\s*(?:=|:(?![/\\]))"
_COMMENT = r"(?:^|(?<=\s))[#;].*"
_VARIABLE = r"\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<rule>:?[-?])(?P<rest>[^{}]*))?\})?"


@dataclass(frozen=True)
class Layout:
    """What a reader of INI files has to know of the options beforehand.

    :param multiline: options that go on over indented lines.
    :param verbatim: options taken as typed: no comments, no variables.
    :param known: section -> the names of its options; only for better words about mistakes.
    :param start: a sentence on how to get such a file, for those who have none.
    """

    multiline: frozenset[Key] = frozenset()
    verbatim: frozenset[Key] = frozenset()
    known_options: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hint: str = ""


@dataclass(frozen=True)
class Value:
    """One value and where it was typed.

    :param text: blanks around it trimmed, variables filled in; the lines of a multi-line value joined by newlines.
    :param line: counted from 1.
    :param name: of the option, in the letters it was typed in.
    :param broken: a mistake in it was reported already.
    """

    text: str = field(repr=False)
    line: int
    section: str
    name: str
    broken: bool = False

    @property
    def label(self) -> str:
        """How messages call it: ``[section] Name``."""
        return f"[{self.section}] {self.name}"


@dataclass(frozen=True)
class Document:
    """What a file holds, before anybody asked what it means.

    :param values: (section, option), both in lower case -> its value.
    :param sections: section -> line of its header.
    """

    path: Path
    values: Mapping[Key, Value]
    sections: Mapping[str, int]
    problems: tuple[Problem, ...]


def read(path: Path, env: Mapping[str, str], layout: Layout | None = None) -> Document:
    """Read a file; never raises for what it finds, every mistake is in ``problems``.

    :param env: where variables come from.
    """
    layout = layout or Layout()
    lines, problems = _lines(path, layout)
    scanner = _Scanner(str(path), layout, problems)
    for number, line in enumerate(lines, 1):
        scanner.take(number, line)
    values = dict(_filled_in(scanner, env))
    return Document(path, values, scanner.sections, tuple(problems))


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean X?`` for the nearest known word, or nothing; case and ``-`` or ``_`` do not count."""
    # Costs 2 ms, which a file without mistakes need not pay.
    from difflib import get_close_matches

    plain = {_plain(name): name for name in known}
    near = get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return f" Did you mean {plain[near[0]]}?" if near else ""


def _plain(word: str) -> str:
    return re.sub(r"[\s-]+", "_", word.strip().lower())


def _lines(path: Path, layout: Layout) -> tuple[list[bytes], list[Problem]]:
    """Return the file's lines, or none and the reason why."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return [], [Problem(str(path), 1, _unreadable(path, layout, error))]
    line, complaint = _no_text(data)
    if complaint:
        return [], [Problem(str(path), line, complaint)]
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.split(b"\n"), []


def _unreadable(path: Path, layout: Layout, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        near = suggest(path.name, sorted(other.name for other in path.parent.glob("*.ini")))
        return f"no such file.{near} {layout.hint}".rstrip()
    if isinstance(error, IsADirectoryError):
        return "is a folder; name the file in it"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _no_text(data: bytes) -> tuple[int, str]:
    """Return the line and the reason why these bytes are no text file of ours; an empty reason when they are."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return 1, "is UTF-16, not UTF-8: save it again with the encoding UTF-8"
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        return line, "holds NUL bytes: this is no UTF-8 text file (UTF-16 without its mark, or binary)"
    if len(data) > MAX_FILE_BYTES:
        return 1, f"is larger than {MAX_FILE_BYTES >> 20} MiB: this is no config file"
    return 1, ""


@dataclass
class _Entry:
    """An option while its lines are still coming in."""

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
    """Goes through a file line by line and remembers the section and the option it is in."""

    def __init__(self, file: str, layout: Layout, problems: list[Problem]) -> None:
        self.file = file
        self.layout = layout
        self.problems = problems
        self.sections: dict[str, int] = {}
        self.entries: dict[Key, _Entry] = {}
        self.section: str | None = None
        self.current: _Entry | None = None

    def complain(self, line: int, what: str) -> None:
        self.problems.append(Problem(self.file, line, what))

    def take(self, number: int, raw: bytes) -> None:
        """Take in one line."""
        line, broken = raw.decode("utf-8", "replace"), False
        text = line.strip()
        if not text or text[0] in "#;":
            return
        complaint = _bad_bytes(raw) or bad_character(text)
        if complaint:
            self.complain(number, complaint)
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
        # A comment that starts inside the brackets leaves a header without its end.
        match = re.fullmatch(_HEADER, re.sub(_COMMENT, "", text, count=1).strip())
        name = (match[1] if match else re.split(r"[#;=]", text[1:])[0]).strip().lower()
        if match is None:
            self.complain(number, f"[{name}: section header without its ]")
        elif match[2] and match[2][0] not in "#;":
            self.complain(number, f"[{name}]: start a new line after the section header")
        self.section = name
        if not name:
            self.complain(number, "[]: a section needs a name")
        elif self.sections.setdefault(name, number) != number:
            self.complain(number, f"[{name}]: again (first in line {self.sections[name]}); join the two")

    def _option(self, number: int, text: str, indent: int) -> None:
        self.current = None
        match = re.fullmatch(_OPTION, text)
        if match is None or re.search(_COMMENT, match["name"]):
            self.complain(number, self._no_equals(text))
            return
        name = match["name"]
        if self.section is None:
            home = [section for section, names in self.layout.known_options.items() if name.lower() in names]
            self.complain(number, f"{name}: stands above any section; put it under [{home[0] if home else 'section'}]")
            return
        key = (self.section, name.lower())
        self.current = _Entry(key, name, number, indent, [self._value(key, match["value"])])
        if first := self.entries.get(key):
            self.complain(number, f"{self.current.label}: again (first in line {first.line}); keep one of the two")
        self.entries.setdefault(key, self.current)

    def _no_equals(self, text: str) -> str:
        # The rest of the line may be a secret: only its first word is shown.
        word = text.split()[0]
        if word.lower() in self.layout.known_options.get(self.section or "", ()):
            return f"[{self.section}] {word}: no = in this line; write {word} = ..."
        return f"{word}: neither [section], nor name = value, nor a comment (#)"

    def _indented(self, number: int, text: str, above: _Entry) -> None:
        """Judge a line that stands further right than the option above it."""
        multiline = above.key in self.layout.multiline
        if self._swallowed(text, above, multiline=multiline):
            word = re.split(r"[\s=:]", text)[0]
            hint = "remove the blanks before it"
            self.complain(
                number, f"{word}: is indented, so {above.label} in line {above.line} would swallow it; {hint}"
            )
            self._header(number, text) if text[0] == "[" else self._option(number, text, above.indent)
        elif multiline:
            above.lines.append(self._value(above.key, text))
        else:
            self.complain(number, f"{above.label} takes one line, and this one continues it (it is indented)")

    def _swallowed(self, text: str, above: _Entry, *, multiline: bool) -> bool:
        """Tell whether an indented line was meant as a line of its own."""
        if not multiline:
            return text[0] == "[" or bool(re.match(_KEY_LIKE, text))
        # Lines such as NAME=value are what a multi-line option is for; only our own names are suspect.
        match = re.fullmatch(_OPTION, text)
        return match is not None and match["name"] in self.layout.known_options.get(above.key[0], ())

    def _value(self, key: Key, text: str) -> str:
        return text.strip() if key in self.layout.verbatim else re.sub(_COMMENT, "", text, count=1).strip()


def _bad_bytes(raw: bytes) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} is not UTF-8: save the file again with the encoding UTF-8"
    return ""


def bad_character(text: str) -> str:
    """Return a complaint about the first character that nobody can see and that would work mischief, or nothing.

    Control characters can rewrite a terminal, direction marks can show a value other than the one that is used, and
    blanks of no width come along when a value is copied from a web page.
    """
    for character in text:
        if character != "\t" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
            return f"holds an invisible character (U+{ord(character):04X}): type this line anew"
    return ""


def _filled_in(scanner: _Scanner, env: Mapping[str, str]) -> Iterator[tuple[Key, Value]]:
    """Yield the values of all options, variables filled in."""
    for key, entry in scanner.entries.items():
        text = "\n".join(line for line in entry.lines if line)
        value = Value(text, entry.line, key[0], entry.name, entry.broken)
        if "${" in text and key not in scanner.layout.verbatim:
            text, complaints = expand_variables(text, env)
            for complaint in complaints:
                scanner.complain(entry.line, f"{entry.label}: {complaint}")
            value = replace(value, text=text.strip(), broken=value.broken or bool(complaints))
        yield key, value


def expand_variables(text: str, env: Mapping[str, str]) -> tuple[str, list[str]]:
    """Fill in ``${VAR}``, ``${VAR:-default}`` and ``${VAR:?message}``.

    As in a shell, the colon means "unset or empty"; without it, ``${VAR-default}``, an empty variable is good enough.
    What a variable holds is not expanded again.

    :return: the text, and a complaint for each variable that could not be filled in.
    """
    complaints: list[str] = []

    def fill(match: re.Match[str]) -> str:
        value, complaint = _variable(match, env)
        if complaint:
            complaints.append(complaint)
        return value

    return re.sub(_VARIABLE, fill, text), complaints


def _variable(match: re.Match[str], env: Mapping[str, str]) -> tuple[str, str]:
    name, rule, rest = match["name"], match["rule"] or "", match["rest"]
    if name is None:
        return "", "${ without a variable's name and a } after it; write ${NAME} or ${NAME:-default}"
    value = env.get(name)
    if value is not None and (value or not rule.startswith(":")):
        return value, f"${{{name}}} {complaint}" if (complaint := bad_character(value)) else ""
    if rule.endswith("-"):
        return rest, ""
    return "", f"{name} is not set: {rest}" if rest else f"{name} is not set: export {name}=... or ${{{name}:-default}}"


def option_names(document: Document, section: str) -> Collection[str]:
    """Return the options that a section of the document holds, in the file's order."""
    return [name for home, name in document.values if home == section]
