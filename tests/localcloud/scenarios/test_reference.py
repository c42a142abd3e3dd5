"""Reference of fault kinds in the docs."""

from __future__ import annotations

from localcloud.scenarios.reference import reference
from tests.support.paths import ROOT

DOCS = ROOT / "docs/scenarios.md"


def test_the_table_in_the_docs_is_up_to_date() -> None:
    _, _, rest = DOCS.read_text(encoding="utf-8").partition("<!-- kinds -->\n")

    assert rest.partition("<!-- end -->")[0] == reference(), "run scripts/docs-tables"
