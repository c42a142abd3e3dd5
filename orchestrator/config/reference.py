"""Tables of options as text: a config file to start from, and a page of the manual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.config import legacy
from orchestrator.config.schema import Option, Tables, options
from orchestrator.config.value_types import format_value

_COLUMN = 36

_TEMPLATE_HEAD = """\
# Stratus: what to launch, where, and what to run on it.
#
# A line that is missing means its default. "#name = value" shows one: take the # away to change it.
# After a blank, # and ; begin a comment. ${VAR} and ${VAR:-default} come from the environment.
# `stratus config show` prints every setting and where it comes from.
"""

_PAGE_HEAD = """\
# Settings

`config/config.ini` is an INI file with the sections below. Every line of it is optional. `stratus config init`
writes one to start from, `stratus config show` prints what counts and where it comes from.

- All mistakes are reported at once, each as `file:line: what`, before anything is launched.
- Case does not matter in the names of sections and options. Blanks around values are trimmed.
- `#` or `;` begins a comment at the start of a line, or after a blank. Elsewhere it belongs to the value.
- `${VAR}` is a variable of the environment; `${VAR:-default}` stands for the default, and `${VAR:?message}` is a
  mistake with that message, when it is unset or empty. `%` means nothing.
- Paths may begin with `~`. Relative ones start at the folder above `config/`, else at the file's own folder.
- The file is UTF-8.
- Credentials do not belong in it: the usual AWS chain finds them (environment, `~/.aws/`, SSO, instance role).

<!-- Made from orchestrator/config/options.py by `stratus config reference`; edit that, not this. -->
"""

_OLD_HEAD = """
## Names of the original project

Its `config.ini` loads as it is. Each of these draws one warning that says where the setting lives now.

| old | now |
|---|---|
"""


def template(tables: Tables, values: Mapping[tuple[str, str], str]) -> str:
    """Return a commented config file.

    :param values: (section, option) -> the text to set it to; the essential options are set in any case.
    :raises ValueError: for an option that does not exist, or a text that would not be read back as it is.
    """
    known = {(section, each.name) for section, table in tables.items() if table for each in options(table)}
    for key, text in values.items():
        if key not in known:
            raise ValueError(f"no such setting: {key}")
        if text != text.strip() or "\n" in text or " #" in text or " ;" in text:
            raise ValueError(f"{key}: {text!r} cannot stand in one line of a config file")
    return _TEMPLATE_HEAD + "".join(_section(name, table, values) for name, table in tables.items() if table)


def _section(section: str, table: type, values: Mapping[tuple[str, str], str]) -> str:
    lines = ["", _commented(f"[{section}]", _first_line(table))]
    for each in options(table):
        given = values.get((section, each.name))
        mark = "" if each.essential or given is not None else "#"
        text = format_value(each.default) if given is None else given
        lines.append(_commented(f"{mark}{each.name} = {text}".rstrip(), _meaning(each)))
    return "\n".join(lines) + "\n"


def _commented(line: str, comment: str) -> str:
    """Return a line with a comment beside it, or above it when the line is long."""
    return f"{line:<{_COLUMN}}# {comment}" if len(line) < _COLUMN else f"# {comment}\n{line}"


def _meaning(each: Option) -> str:
    return f"{each.value_type.unit}: {each.description}" if each.value_type.unit else each.description


def _first_line(table: type) -> str:
    return (table.__doc__ or "").splitlines()[0]


def page(tables: Tables) -> str:
    """Return the reference page of config.ini, in Markdown."""
    return _PAGE_HEAD + sections(tables) + _old_names()


def sections(tables: Tables) -> str:
    """Return the sections of a reference page, a table of options each, in Markdown."""
    return "".join(_page_section(name, table) for name, table in tables.items() if table)


def _page_section(section: str, table: type) -> str:
    rows = "".join(f"{row}\n" for row in _rows(table))
    return (
        f"\n## [{section}]\n\n{_first_line(table)}\n\n| option | default | takes | meaning |\n|---|---|---|---|\n{rows}"
    )


def _rows(table: type) -> Iterator[str]:
    for each in options(table):
        default = f"`{format_value(each.default)}`" if format_value(each.default) else ""
        takes = f"{each.value_type.description} {each.value_type.unit}".strip()
        yield "| " + " | ".join(_cell(text) for text in (f"`{each.name}`", default, takes, each.description)) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _old_names() -> str:
    rows = [(old, f"`[{now[0]}] {now[1]}`") for old, now in legacy.MOVED.items()]
    rows += [(old, "`aws configure`: keys do not belong in config files") for old in legacy.SECRETS]
    rows += [(old, "`[job] run`, a folder on this machine") for old in legacy.DROPPED]
    return _OLD_HEAD + "".join(f"| `[{section}] {name}` | {now} |\n" for (section, name), now in rows)
