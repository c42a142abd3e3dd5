"""Old names in config files: they load as before, each with one warning that gives the new name.

They come from the project that Stratus grew out of, and from earlier versions of Stratus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.config import ini
from orchestrator.config.value_types import Secret, is_placeholder
from orchestrator.core.errors import Problem

OLD_SECTION = "summary"

#: Options of the original project that have another name now.
MOVED = {
    (OLD_SECTION, "your_key_path"): ("ssh", "private_key"),
    (OLD_SECTION, "your_key_name"): ("aws", "key_name"),
    ("aws", "total_instance"): ("cluster", "count"),
    ("aws", "instance_type"): ("cluster", "instance_type"),
}

#: Options that had another name in earlier versions.
RENAMED = {
    ("cluster", "siblings"): ("cluster", "fallback_instance_types"),
    ("aws", "sweep"): ("aws", "terminate_regions"),
    ("aws", "note"): ("aws", "banner"),
}

#: Options without a successor, with the reason.
DROPPED = {
    (OLD_SECTION, "git_link"): "is not used: the code comes from the folder that [job] run names, not from a clone",
    (OLD_SECTION, "runtime_application"): "is not used: the job is the folder that [job] run names",
}

#: Examples of the original project and the jobs they became.
RENAMED_JOBS = {"cpu-example": "examples/cloud_retrieval"}

SECRETS = (OLD_SECTION, "access_key"), (OLD_SECTION, "secret_key")
_NO_KEYS_HERE = "keep keys out of config files: `aws configure` stores them in ~/.aws/credentials, where all tools look"


@dataclass(frozen=True)
class LegacyValues:
    """Values of an old file without an option of their own, and messages about its old names.

    :param lines: option of ``[aws]`` -> line that its secret came from.
    """

    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    access_key: Secret | None = None
    secret_key: Secret | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def origins(self, file: str) -> dict[ini.Key, str]:
        """Return (section, option) -> ``file:line`` of the secrets."""
        return {("aws", name): f"{file}:{line}" for name, line in self.lines.items()}


def translate(document: ini.Document) -> tuple[ini.Document, LegacyValues]:
    """Return the document with current names in place of old ones, and the rest of what the old names held."""
    translation = _Translation(document)
    if OLD_SECTION in document.sections or any(key in document.values for key in (*MOVED, *RENAMED)):
        translation.run()
    sections = {name: line for name, line in document.sections.items() if name != OLD_SECTION}
    return replace(document, values=translation.values, sections=sections), translation.legacy_values()


class _Translation:
    """Translation of one document, with the messages it produces."""

    def __init__(self, document: ini.Document) -> None:
        self.file = str(document.path)
        self.values = dict(document.values)
        self.warnings: list[Problem] = []
        self.problems: list[Problem] = []
        self.secrets: dict[str, tuple[str, int]] = {}

    def run(self) -> None:
        for key, value in list(self.values.items()):
            if key in MOVED or key in RENAMED:
                self._rename(key, value)
            elif key in DROPPED:
                del self.values[key]
                job = f" ({value.text} is now {RENAMED_JOBS[value.text]})" if value.text in RENAMED_JOBS else ""
                self._warn(value, f"{DROPPED[key]}{job}")
            elif key in SECRETS:
                del self.values[key]
                self._take_secret(key[1], value)
            elif key[0] == OLD_SECTION:
                del self.values[key]
                self._add_problem(value, f"no such setting.{ini.suggest(key[1], _old_names())}")
        self._check_secret_pair()

    def _rename(self, key: ini.Key, value: ini.Value) -> None:
        section, name = RENAMED.get(key) or MOVED[key]
        del self.values[key]
        if twin := self.values.get((section, name)):
            self._add_problem(value, f"is set again as {twin.label} in line {twin.line}; keep that one")
            return
        # The value keeps its old label: later messages about it name what the file says.
        self.values[section, name] = value
        self._warn(value, f"is now called {name}" if section == key[0] else f"is now called {name}, under [{section}]")

    def _take_secret(self, name: str, value: ini.Value) -> None:
        # The original project's own file says "$YOUR AWS ACCESS KEY".
        is_key = bool(value.text) and not value.broken and not is_placeholder(value.text)
        self._warn(value, _NO_KEYS_HERE if is_key else f"holds no key, which is fine; {_NO_KEYS_HERE}")
        if is_key:
            self.secrets[name] = value.text, value.line

    def _check_secret_pair(self) -> None:
        # One without the other would fail later, at the first AWS call, with a less clear error.
        if len(self.secrets) == 1:
            ((name, (_, line)),) = self.secrets.items()
            other = "access_key" if name == "secret_key" else "secret_key"
            self.problems.append(Problem(self.file, line, f"[{OLD_SECTION}] {name} has no effect without {other}"))

    def _warn(self, value: ini.Value, message: str) -> None:
        self.warnings.append(Problem(self.file, value.line, f"{value.label}: {message}"))

    def _add_problem(self, value: ini.Value, message: str) -> None:
        self.problems.append(Problem(self.file, value.line, f"{value.label}: {message}"))

    def legacy_values(self) -> LegacyValues:
        secrets = {name: Secret(text) for name, (text, _) in self.secrets.items()}
        lines = {f"legacy_{name}": line for name, (_, line) in self.secrets.items()}
        return LegacyValues(
            warnings=tuple(self.warnings),
            problems=tuple(self.problems),
            access_key=secrets.get("access_key"),
            secret_key=secrets.get("secret_key"),
            lines=lines,
        )


def _old_names() -> list[str]:
    return [name for section, name in (*MOVED, *DROPPED, *SECRETS) if section == OLD_SECTION]
