"""An option is declared once: loader, template and manual page follow from its line in the table."""

from __future__ import annotations

from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import ini, reference
from orchestrator.config.options import TABLES, ClusterSettings
from orchestrator.config.schema import SettingsReader, Tables, integer, layout, option
from orchestrator.core.errors import ConfigError

# The one line that a new option takes.
NEW_OPTION = ("spare_count", int, option(0, integer(0, 10, "VMs"), "VMs to keep ready for replacement"))

Extended = make_dataclass("Extended", [NEW_OPTION], bases=(ClusterSettings,), frozen=True)
EXTENDED: Tables = {**TABLES, "cluster": Extended}


def read(folder: Path, content: str) -> object:
    path = folder / "config.ini"
    path.write_text(content, encoding="utf-8")
    reader = SettingsReader(ini.read(path, {}, layout(EXTENDED)), EXTENDED)
    record: Any = reader.read_section("cluster", Extended)
    reader.raise_problems()
    return record


def test_a_new_option_is_read_with_its_default_and_its_value(tmp_path: Path) -> None:
    assert read(tmp_path, "[cluster]\ncount = 2\n").spare_count == 0  # type: ignore[attr-defined]
    assert read(tmp_path, "[cluster]\nspare_count = 3\n").spare_count == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("spare_count = 11", "[cluster] spare_count = '11' is out of range: 0 to 10 VMs"),
        ("spare_cuont = 1", "[cluster] spare_cuont: no such setting. Did you mean spare_count?"),
    ],
)
def test_mistakes_in_a_new_option_are_reported_as_of_any_other(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[cluster]\n{line}\n")

    assert [problem.message for problem in caught.value.problems] == [message]


def test_a_new_option_is_in_the_template_and_on_the_manual_page() -> None:
    assert "\n#spare_count = 0                    # VMs: VMs to keep ready for replacement\n" in reference.template(
        EXTENDED, {}
    )
    row = "| `spare_count` | `0` | whole number, 0 to 10 VMs | VMs to keep ready for replacement |\n"
    assert row in reference.page(EXTENDED)
