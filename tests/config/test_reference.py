"""The template and the reference page say what the table of options says."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import settings
from orchestrator.config.schema import options
from tests.support.paths import ROOT


def test_the_reference_page_is_up_to_date() -> None:
    """Else: stratus config reference > docs/reference/config.md."""
    assert (ROOT / "docs/reference/config.md").read_text(encoding="utf-8") == settings.reference()


def test_every_option_stands_in_the_template_and_on_the_page() -> None:
    template, page = settings.template(), settings.reference()

    for section, table in settings.TABLES.items():
        assert f"[{section}]" in template
        assert f"## [{section}]" in page
        for each in options(table) if table else ():
            assert each.rare != (f"\n{each.name} =" in template or f"\n#{each.name} =" in template)
            assert f"| `{each.name}` |" in page


def test_a_template_with_every_line_in_force_means_the_defaults(tmp_path: Path) -> None:
    lines = [line[1:] if line[:1] == "#" and line[1:2].isalpha() else line for line in settings.template().splitlines()]
    path = tmp_path / "config.ini"
    path.write_text("\n".join(lines), encoding="utf-8")

    loaded = settings.load(path, {}, files=False)

    assert [row[:3] for row in settings.to_rows(loaded)][:-1] == [
        row[:3] for row in settings.to_rows(settings.Settings())
    ][:-1]
    rare = {
        (name, each.name) for name, table in settings.TABLES.items() if table for each in options(table) if each.rare
    }
    assert {row[:2] for row in settings.to_rows(loaded) if not row[3].startswith("config.ini:")} == rare


def test_a_rare_setting_that_is_handed_in_stands_in_the_template(tmp_path: Path) -> None:
    template = settings.template({("sagemaker", "role"): "stratus-sagemaker"})

    assert "\n[sagemaker]" in template
    assert "\nrole = stratus-sagemaker" in template
    assert "training_spot" not in template


def test_a_template_is_short_and_fits_a_screen() -> None:
    lines = settings.template().splitlines()

    assert len(lines) <= 90
    assert max(map(len, lines)) <= 110


def test_values_that_are_handed_in_stand_in_the_template_and_read_back(tmp_path: Path) -> None:
    long = "a note that is longer than the column of the values, 50% longer"
    path = tmp_path / "config.ini"
    path.write_text(settings.template({("aws", "banner"): long, ("ssh", "port"): "2222"}), encoding="utf-8")

    loaded = settings.load(path, {}, files=False)

    assert (loaded.aws.banner, loaded.ssh.port) == (long, 2222)


@pytest.mark.parametrize(
    ("key", "text"),
    [(("aws", "nope"), "x"), (("aws", "banner"), "a # b"), (("aws", "banner"), "a\nb"), (("aws", "banner"), " a")],
)
def test_a_value_that_would_not_read_back_is_refused(key: tuple[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=key[1]):
        settings.template({key: text})
