"""Help on verbs and the manual, from signatures and docstrings."""

from __future__ import annotations

from orchestrator.interface.render.units import wrapped
from orchestrator.interface.verbs import help as verb_help
from orchestrator.interface.verbs.registry import default_registry
from tests.support.interface.rendered import texts
from tests.support.paths import ROOT

REGISTRY = default_registry()


def test_a_verb_is_explained_by_its_docstring() -> None:
    verb = REGISTRY.by_name["InstanceTypes"]

    assert verb_help.call_of(verb) == "InstanceTypes(gpus=0, *, vcpus=0, memory=0, max_price=0, family='')"
    assert texts(verb_help.explanation(verb)) == [
        "List instance types that can be launched now.",
        "",
        "The cheapest first, with their price on demand and on the spot market.",
        "",
        "gpus       at least so many GPUs; 0: types without, unless family is given.",
        "vcpus      at least so many vCPUs.",
        "memory     at least so much memory, GiB.",
        "max_price  at most so many USD per hour on demand.",
        "family     only this family: g5, c7i.",
        "",
        "Costs    nothing.",
        "Example  InstanceTypes(gpus=1, max_price=2)   or   InstanceTypes(vcpus=16, memory=64)",
        "Next     set [cluster] instance_type in the config file",
    ]


def test_the_overview_begins_with_the_steps_and_fits_80_columns() -> None:
    lines = texts(verb_help.overview(REGISTRY))

    assert [line.split("(")[0].strip() for line in lines[:6]] == [verb.name for verb in REGISTRY.steps]
    assert all(len(wrapped([line], 80)) == 1 for line in lines)


def test_the_manual_in_docs_is_current() -> None:
    """`stratus manual > docs/reference/verbs.md` writes it anew."""
    assert (ROOT / "docs/reference/verbs.md").read_text(encoding="utf-8") == verb_help.manual(REGISTRY)
