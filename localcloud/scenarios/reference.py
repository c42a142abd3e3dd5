"""Reference of all kinds of faults, for the docs and the command line."""

from __future__ import annotations

from collections.abc import Iterable

from localcloud.scenarios.fault_kinds import GROUPS, KINDS, FaultGroup, Option, format_value


def reference() -> str:
    """Return the table of faults as Markdown, for docs/scenarios.md."""
    parts = []
    for name, group in GROUPS.items():
        kinds = [kind for kind in KINDS if kind.group == name]
        head = f"### {group.title}\n\n{group.description}\n{_where(group)}"
        rows = "\n".join(f"| `{kind.name}` | {kind.meaning} | {_options(kind.options)} |" for kind in kinds)
        parts.append(f"{head}\n\n| fault | what happens | its own options |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _where(group: FaultGroup) -> str:
    order = ("region", "zone", "subnet", "type", "market", "host")
    return f"`where` may name: {', '.join(aspect for aspect in order if aspect in group.aspects)}."


def _options(options: Iterable[Option]) -> str:
    return "<br>".join(f"`{option.name}` {option.meaning} ({_default(option)})" for option in options) or "none"


def _default(option: Option) -> str:
    if option.default is None:
        return "required"
    if option.default in ("", ()):
        return "default: none"
    return f"default: `{format_value(option, option.default)}`"
