"""Requirements of a job's framework that its environment will lack, found before anything is launched or installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.jobs.frameworks import registry
from orchestrator.jobs.frameworks.registry import Need
from orchestrator.jobs.spec import JobSpec

# https://packaging.python.org/en/latest/specifications/dependency-specifiers/: a name, then extras in brackets.
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*(?:[<>=!~;@#(]|$)")


def missing_needs(spec: JobSpec) -> list[str]:
    """Return one line for each requirement of the framework that nothing in the job's folder brings.

    Environments that cannot be judged from the folder alone have none: containers, packages of the VM's image.
    """
    options = spec.options
    if spec.runtime == "docker" or options.system_packages or options.setup or options.environment:
        return []
    names = requirement_names(spec.requirements_text)
    needs = registry.find(spec.framework).needs
    return [_message(spec, need) for need in needs if names is not None and _is_missing(spec, need, names)]


def requirement_names(text: str) -> set[str] | None:
    """Return the normalized names in a requirements file, also with each extra; None if it refers to other files."""
    names: set[str] = set()
    for line in _lines(text):
        match = _REQUIREMENT.match(line)
        if match is None and not re.match(r"--?(i|f|index-url|extra-index-url|find-links|pre|no-binary)\b", line):
            return None
        if match:
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            names |= {name, *(f"{name}[{extra.strip().lower()}]" for extra in (match[2] or "").split(",") if extra)}
    return names


def _lines(text: str) -> Iterator[str]:
    return (line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()) if line)


def _is_missing(spec: JobSpec, need: Need, names: set[str]) -> bool:
    # The VM's packages may bring a program under many names: any of them is trusted.
    by_system = need.name not in need.requirements and spec.options.apt_packages
    only_single = need.only_multi and not spec.options.multi
    return not (names.intersection(need.requirements) or by_system or only_single)


def _message(spec: JobSpec, need: Need) -> str:
    return f"{spec.name}: framework = {spec.framework} needs {need.name}, which nothing installs: {need.advice}"
