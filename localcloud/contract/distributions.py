"""Systems of AMIs on which the scripts of VMs rely, from ``distributions.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("distributions.toml")
ENGINE_PRESENT = "present"


@dataclass(frozen=True)
class Distribution:
    """One row; the fields are explained at the top of the file."""

    name: str
    user: str
    image: str
    manager: str
    python: str
    venv: str
    pythons: tuple[str, ...]
    docker: str
    ssh: str
    selinux: str
    tmp: str
    sources: tuple[str, ...]
    disk_gib: int = 8
    software_usd: float = 0.0

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that the distribution has."""
        more = "-pip" if self.manager == "dnf" else "-venv"
        pythons = [name for python in self.pythons for name in (python, python + more)]
        docker = () if self.docker == ENGINE_PRESENT else (self.docker,)
        return tuple(filter(None, (self.venv, *docker, *pythons)))

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts that an instance reports if the row is right."""
        return {
            "user": self.user,
            "manager": self.manager,
            "python": self.python,
            "venv": "package" if self.venv else "included",
            "engine": "present" if self.docker == ENGINE_PRESENT else "absent",
            "ssh": self.ssh,
            "selinux": self.selinux,
            "tmp": self.tmp,
            **dict.fromkeys((f"package-{name}" for name in self.packages), "available"),
        }


def read(file: Path = FILE) -> dict[str, Distribution]:
    """Return the rows by name, in the order of the file."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        name: Distribution(name, **{**table, "pythons": tuple(table["pythons"]), "sources": tuple(table["sources"])})
        for name, table in tables.items()
    }


def reference() -> str:
    """Return the table as Markdown, for docs/distributions.md."""
    head = "| distribution | login | Python | further versions | Docker engine | SSH unit | SELinux | `/tmp` |\n"
    return head + "| --- " * 8 + "|\n" + "".join(_line(row) for row in read().values())


def _line(row: Distribution) -> str:
    links = " ".join(f"[{number}]({source})" for number, source in enumerate(row.sources, start=1))
    venv = f" + `{row.venv}`" if row.venv else ""
    pythons = ", ".join(f"`{python}`" for python in row.pythons) or "none"
    docker = {ENGINE_PRESENT: "present", "": "none"}.get(row.docker, f"`{row.docker}`")
    cells = [
        f"{row.name} {links}",
        f"`{row.user}`",
        f"{row.python}{venv}",
        pythons,
        docker,
        f"`{row.ssh}`",
        row.selinux,
        row.tmp,
    ]
    return f"| {' | '.join(cells)} |\n"
