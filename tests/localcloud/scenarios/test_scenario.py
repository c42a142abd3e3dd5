"""Scenario files: parsing, reporting of mistakes, and writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.scenarios import fault_kinds, readers, schedule
from localcloud.scenarios.scenario import Fault, Scenario, ScenarioError, load, make_fault, parse
from tests.support.paths import ROOT

DOCS = ROOT / "docs/scenarios.md"


def test_a_file_sets_kind_target_and_schedule_of_faults() -> None:
    scenario = parse(
        "[scenario]\nseed = 42\n"
        "[full]\nfault = no-capacity  # in one zone\nwhere = us-west-2a / c7i.*\nwhen = until 60 s\n"
    )

    (full,) = scenario.faults
    assert (scenario.seed, full.kind, full.title, str(full.where)) == (42, "no-capacity", "full", "us-west-2a / c7i.*")
    assert (full.when.covers(59.9), full.when.covers(60.0), full["machines"]) == (True, False, 0)


def test_all_mistakes_of_a_file_are_reported_with_their_lines() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(
            "x = 1\n[scenario]\nsead = 3\n[a]\nfault = no-capacty\n[b]\nfault = host-lost\nwhen = at call 3\n"
            "where = us-west-2a / nowhere\n[b]\nfault = error\ncode = InternalErorr\nactoin = x\ntimes = 0\n[d]\n"
            "[e]\nfault = slow\nseconds = 5\n[f]\nfault = slow\nwhere = host 3\n",
            "day.ini",
        )

    lines = str(caught.value).splitlines()
    expected = {
        1: "before the first",
        3: "did you mean seed?",
        5: "did you mean no-capacity?",
        8: "40 s after launch",
        9: "'nowhere' is not a place",
        10: "duplicate section [b]",
        12: "did you mean InternalError?",
        13: "did you mean action?",
        14: "must be 1 or more",
        15: "fault = ...",
        18: "40 s, 1.5 min",
        21: "has no host",
    }
    assert [int(line.split(":")[1]) for line in lines] == list(expected)
    for line, text in zip(lines, expected.values(), strict=True):
        assert line.startswith("day.ini:")
        assert text in line


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.ini: cannot be read: No such file"):
        load(tmp_path / "none.ini")


def test_a_fault_made_in_python_is_checked_like_one_in_a_file() -> None:
    fault = make_fault("slow", seconds=2, action="Describe*", times=3)

    assert parse(Scenario(faults=(fault,)).text()).faults[0].options == fault.options
    with pytest.raises(ScenarioError, match="did you mean seconds"):
        make_fault("slow", secnds=2)
    with pytest.raises(ScenarioError, match="needs code"):
        make_fault("error")


def value_of(option: fault_kinds.Option) -> st.SearchStrategy[Any]:
    """Return valid values of an option."""
    match option.read:
        case readers.Choice(choices):
            return st.sampled_from(choices)
        case schedule.parse_duration | readers.decimal:
            return st.integers(0, 10_000).map(lambda quarters: quarters / 4)
        case readers.whole_number:
            return st.integers(0, 999)
        case readers.yes_no:
            return st.booleans()
        case readers.comma_list:
            return st.lists(st.from_regex(r"[A-Za-z*]{1,9}", fullmatch=True), min_size=1, max_size=3).map(tuple)
        case readers.ipv4_address:
            return st.ip_addresses(v=4).map(str)
        case fault_kinds.quota:
            return st.sampled_from(["L-1216C47A", "ml.g5.xlarge for spot training job usage"])
        case readers.tags:
            return st.lists(tag(), max_size=2).map(tuple)
    return st.sampled_from(["InternalError", "RequestLimitExceeded"])


@st.composite
def tag(draw: st.DrawFn) -> tuple[str, str]:
    key, value = r"[a-z:]{1,9}", r"[a-z0-9 #]{0,9}x"
    return draw(st.from_regex(key, fullmatch=True)), draw(st.from_regex(value, fullmatch=True)).strip()


@st.composite
def any_fault(draw: st.DrawFn) -> Fault:
    kind = draw(st.sampled_from(fault_kinds.KINDS))
    options = {option.name: draw(value_of(option)) for option in kind.options}
    whens = {"calls": "at calls 2 to 5", "at": "at 40 s", "window": "from 10 s to 1 min", "after": "1 s after running"}
    wheres = {"region": "us-west-2", "zone": "us-west-2a, us-west-2b", "type": "c7i.*", "host": "hosts 2-3, host 7"}
    when = draw(st.sampled_from(["always", *(value for form, value in whens.items() if form in kind.forms)]))
    where = draw(st.sampled_from(["", *(value for aspect, value in wheres.items() if aspect in kind.aspects)]))
    times, chance = draw(st.sampled_from([None, 1, 7])), draw(st.sampled_from([1.0, 0.25]))
    return make_fault(kind.name, when=when, where=where, times=times, chance=chance, **options)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(any_fault(), max_size=3), st.integers(-5, 5))
def test_a_scenario_survives_writing_and_parsing(faults: list[Fault], seed: int) -> None:
    again = parse(Scenario(seed, tuple(faults)).text())

    assert again.seed == seed
    for before, after in zip(faults, again.faults, strict=True):
        assert (after.kind, after.when, after.where, after.times, after.chance, after.options) == (
            before.kind,
            before.when,
            before.where,
            before.times,
            before.chance,
            before.options,
        )


def test_the_examples_in_the_docs_are_valid() -> None:
    blocks = DOCS.read_text(encoding="utf-8").split("```ini\n")[1:]

    scenarios = [parse(block.partition("```")[0]) for block in blocks]
    assert sum(len(scenario.faults) for scenario in scenarios) > 5
