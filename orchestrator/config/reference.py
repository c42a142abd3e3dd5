"""Text generated from tables of options: a config file template and a page of the manual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.config import legacy
from orchestrator.config.schema import NamedLines, Option, Tables, options
from orchestrator.config.value_types import format_value

_COLUMN = 36
NO_LINES: Mapping[str, NamedLines[object]] = {}

_TEMPLATE_HEAD = """\
# Stratus: what to launch, where, and what to run on it.
#
# A missing line means the default. "#name = value" shows it: remove the # to change it.
# After a blank, # and ; begin a comment. ${VAR} and ${VAR:-default} are read from the environment.
# `stratus config show` prints every setting and its origin.
"""

_TEMPLATE_OTHERS = """
# `stratus config reference` prints every setting, with those few users need, and these sections:
"""

_PAGE_HEAD = """\
# Settings

`config/config.ini` is an INI file with the sections below. Every line is optional. `stratus config init` writes a
commented file and a small job to start from, `stratus config show` prints every setting and its origin.

- All mistakes are reported at once, each as `file:line: what`, before anything is launched.
- Case does not matter in the names of sections and options. Blanks around values are trimmed.
- `#` or `;` begins a comment at the start of a line, or after a blank. Elsewhere it belongs to the value.
- `${VAR}` is an environment variable. If it is unset or empty, `${VAR:-default}` gives the default, and
  `${VAR:?message}` is a mistake with that message. `%` has no special meaning.
- Paths may begin with `~`. Relative ones start at the folder above `config/`, else at the file's own folder.
- The file is UTF-8.
- Credentials do not belong in it: they come from the usual AWS sources (environment, `~/.aws/`, SSO, instance role).

<!-- Generated from orchestrator/config/options.py by `stratus config reference`; edit that file, not this one. -->
"""

_OLD_HEAD = """
## Old names

Files of earlier versions, and of the original project, load unchanged. Each of these names draws one warning with the
new one.

| old | now |
|---|---|
"""


def template(
    tables: Tables, values: Mapping[tuple[str, str], str], lines: Mapping[str, NamedLines[object]] = NO_LINES
) -> str:
    """Return a commented config file.

    :param values: (section, option) -> text to set it to; essential options are set in any case.
    :param lines: sections of named lines, which are mentioned only.
    :raises ValueError: for an unknown option, or a text that would not be read back unchanged.
    """
    known = {(section, option.name) for section, table in tables.items() if table for option in options(table)}
    for key, text in values.items():
        if key not in known:
            raise ValueError(f"no such setting: {key}")
        # Such a text would be read back shortened: trimmed, or cut at a comment.
        if text != text.strip() or "\n" in text or " #" in text or " ;" in text:
            raise ValueError(f"{key}: {text!r} does not fit in one line of a config file")
    sections = [(name, table, _shown(name, table, values)) for name, table in tables.items() if table]
    mentioned = {name: _first_line(table) for name, table, shown in sections if not shown}
    mentioned |= {name: section.description for name, section in lines.items()}
    others = "".join(f"# {f'[{name}]':<34}{text}\n" for name, text in mentioned.items())
    body = "".join(_section(name, table, shown, values) for name, table, shown in sections if shown)
    return _TEMPLATE_HEAD + body + (_TEMPLATE_OTHERS + others if others else "")


def _shown(section: str, table: type, values: Mapping[tuple[str, str], str]) -> list[Option]:
    """Return the options of a section that the template shows."""
    return [option for option in options(table) if not option.rare or (section, option.name) in values]


def _section(section: str, table: type, shown: Sequence[Option], values: Mapping[tuple[str, str], str]) -> str:
    lines = ["", _commented(f"[{section}]", _first_line(table))]
    for option in shown:
        value = values.get((section, option.name))
        mark = "" if option.essential or value is not None else "#"
        text = format_value(option.default) if value is None else value
        line = f"{mark}{option.name} = {text}".rstrip()
        # In a shell command a # may be a part of it, so the comment would be read as the command.
        above = option.value_type.verbatim
        lines.append(f"# {_comment(option)}\n{line}" if above else _commented(line, _comment(option)))
    return "\n".join(lines) + "\n"


def _commented(line: str, comment: str) -> str:
    """Return a line with a comment beside it, or above it if the line is long."""
    return f"{line:<{_COLUMN}}# {comment}" if len(line) < _COLUMN else f"# {comment}\n{line}"


def _comment(option: Option) -> str:
    unit = option.value_type.unit
    return f"{unit}: {option.description}" if unit else option.description


def _first_line(table: type) -> str:
    return (table.__doc__ or "").splitlines()[0]


def page(tables: Tables, lines: Mapping[str, NamedLines[object]] = NO_LINES) -> str:
    """Return the reference page of config.ini, in Markdown."""
    named = "".join(_named_lines(name, section) for name, section in lines.items())
    return _PAGE_HEAD + sections(tables) + named + _old_names()


def _named_lines(name: str, section: NamedLines[object]) -> str:
    rows = "".join(f"| `{_cell(example)}` | {_cell(text)} |\n" for example, text in section.examples.items())
    head = f"\n## [{name}]\n\n{section.description} One line for each; the names are yours.\n"
    return f"{head}\n| line | meaning |\n|---|---|\n{rows}"


def sections(tables: Tables) -> str:
    """Return the sections of a reference page in Markdown, each a table of options."""
    return "".join(_page_section(name, table) for name, table in tables.items() if table)


def _page_section(section: str, table: type) -> str:
    rows = "".join(f"{row}\n" for row in _rows(table))
    return (
        f"\n## [{section}]\n\n{_first_line(table)}\n\n| option | default | takes | meaning |\n|---|---|---|---|\n{rows}"
    )


def _rows(table: type) -> Iterator[str]:
    for option in options(table):
        default = f"`{format_value(option.default)}`" if format_value(option.default) else ""
        takes = f"{option.value_type.description} {option.value_type.unit}".strip()
        yield "| " + " | ".join(_cell(text) for text in (f"`{option.name}`", default, takes, option.description)) + " |"


def _cell(text: str) -> str:
    # A bar would end the cell of a Markdown table.
    return text.replace("|", "\\|")


def _old_names() -> str:
    rows = [(old, f"`[{new[0]}] {new[1]}`") for old, new in (legacy.RENAMED | legacy.MOVED).items()]
    rows += [(old, "`aws configure`: keys do not belong in config files") for old in legacy.SECRETS]
    rows += [(old, "`[job] run`, a folder on this computer") for old in legacy.DROPPED]
    return _OLD_HEAD + "".join(f"| `[{section}] {name}` | {new} |\n" for (section, name), new in rows)
