"""Config files of the project that Stratus grew out of load as they are, with a word on where each old name went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.config import ini
from orchestrator.config.value_types import Secret, is_placeholder
from orchestrator.core.errors import Problem

OLD_SECTION = "summary"

#: Options that are called otherwise now.
MOVED = {
    (OLD_SECTION, "your_key_path"): ("ssh", "private_key"),
    (OLD_SECTION, "your_key_name"): ("aws", "key_name"),
    ("aws", "total_instance"): ("cluster", "count"),
    ("aws", "instance_type"): ("cluster", "instance_type"),
}

#: Options without a successor, and what to know of them.
DROPPED = {
    (OLD_SECTION, "git_link"): "is not used: the code comes from the folder that [job] run names, not from a clone",
    (OLD_SECTION, "runtime_application"): "is not used: what runs is the folder that [job] run names",
}

#: The examples of old and the jobs they became.
RENAMED_JOBS = {"cpu-example": "examples/cloud_retrieval"}

SECRETS = (OLD_SECTION, "access_key"), (OLD_SECTION, "secret_key")
_KEYS_AT_HOME = "keep keys out of config files: `aws configure` puts them into ~/.aws/credentials, where all tools look"


@dataclass(frozen=True)
class LegacyValues:
    """What an old file held that has no place in the new table.

    :param lines: option of ``[aws]`` -> line that its secret came from.
    """

    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    access_key: Secret | None = None
    secret_key: Secret | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def origins(self, file: str) -> dict[ini.Key, str]:
        """Return (section, option) -> where it came from, for the secrets."""
        return {("aws", name): f"{file}:{line}" for name, line in self.lines.items()}


def translate(document: ini.Document) -> tuple[ini.Document, LegacyValues]:
    """Return the document with old names replaced by today's, and what else the old ones said."""
    move = _Move(document)
    if any(key in document.values for key in MOVED) or OLD_SECTION in document.sections:
        move.all()
    sections = {name: line for name, line in document.sections.items() if name != OLD_SECTION}
    return replace(document, values=move.values, sections=sections), move.old()


class _Move:
    """One document on its way from old names to new ones."""

    def __init__(self, document: ini.Document) -> None:
        self.file = str(document.path)
        self.values = dict(document.values)
        self.warnings: list[Problem] = []
        self.problems: list[Problem] = []
        self.secrets: dict[str, tuple[str, int]] = {}

    def all(self) -> None:
        for key, value in list(self.values.items()):
            if key in MOVED:
                self._rename(key, value)
            elif key in DROPPED:
                del self.values[key]
                job = f" ({value.text} is now {RENAMED_JOBS[value.text]})" if value.text in RENAMED_JOBS else ""
                self._warn(value, f"{DROPPED[key]}{job}")
            elif key in SECRETS:
                del self.values[key]
                self._keep_secret(key[1], value)
            elif key[0] == OLD_SECTION:
                del self.values[key]
                self._complain(value, f"no such setting.{ini.suggest(key[1], _old_names())}")
        self._check_pair()

    def _rename(self, key: ini.Key, value: ini.Value) -> None:
        section, name = MOVED[key]
        del self.values[key]
        if twin := self.values.get((section, name)):
            self._complain(value, f"is given again as {twin.label} in line {twin.line}; keep that one")
            return
        self.values[section, name] = value
        self._warn(value, f"is now called {name}, under [{section}]")

    def _keep_secret(self, name: str, value: ini.Value) -> None:
        # "$YOUR AWS ACCESS KEY" is what the original project's own file says.
        given = bool(value.text) and not value.broken and not is_placeholder(value.text)
        self._warn(value, _KEYS_AT_HOME if given else f"holds no key, which is fine; {_KEYS_AT_HOME}")
        if given:
            self.secrets[name] = value.text, value.line

    def _check_pair(self) -> None:
        if len(self.secrets) == 1:
            ((name, (_, line)),) = self.secrets.items()
            other = "access_key" if name == "secret_key" else "secret_key"
            self.problems.append(Problem(self.file, line, f"[{OLD_SECTION}] {name} is of no use without {other}"))

    def _warn(self, value: ini.Value, what: str) -> None:
        self.warnings.append(Problem(self.file, value.line, f"{value.label}: {what}"))

    def _complain(self, value: ini.Value, what: str) -> None:
        self.problems.append(Problem(self.file, value.line, f"{value.label}: {what}"))

    def old(self) -> LegacyValues:
        kept = {name: Secret(text) for name, (text, _) in self.secrets.items()}
        lines = {f"legacy_{name}": line for name, (_, line) in self.secrets.items()}
        return LegacyValues(
            tuple(self.warnings), tuple(self.problems), kept.get("access_key"), kept.get("secret_key"), lines
        )


def _old_names() -> list[str]:
    return [name for section, name in (*MOVED, *DROPPED, *SECRETS) if section == OLD_SECTION]
