"""Host names of a launch in one tag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws.ec2 import host_names

clusters = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)


@given(cluster=clusters, numbers=st.sets(st.integers(0, 5000), min_size=1, max_size=40))
def test_names_survive_the_tag(cluster: str, numbers: set[int]) -> None:
    given = tuple(f"{cluster}-{number}" for number in sorted(numbers))

    assert host_names.expand(host_names.compress(given)) == given


@given(st.text("ml-[]0123456789,", max_size=30) | st.text(max_size=300))
def test_a_tag_is_either_as_compress_writes_it_or_refused(value: str) -> None:
    try:
        found = host_names.expand(value)
    except ValueError:
        return
    assert host_names.compress(found) == value


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        (["ml-0"], "ml-0"),
        (["ml-0", "ml-1"], "ml-[0-1]"),
        (["a-b-3", "a-b-5"], "a-b-[3,5]"),
        ([f"ml-{number}" for number in [0, 3, 5, 6, 7]], "ml-[0,3,5-7]"),
        ([f"ml-{number}" for number in range(1000)], "ml-[0-999]"),
    ],
)
def test_names_are_compressed_to_ranges(given: list[str], packed: str) -> None:
    assert host_names.compress(given) == packed


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ml",
        "ml-",
        "ml-[]",
        "ml-[3-3]",
        "ml-[1-0]",
        "ml-[0,1]",
        "ml-[0-999999999]",
        "ml-00",
        "ml-[0-1],x",
        "ML-0",
        "ml-[2,0]",
        " ml-0",
        "ml-0\n",
        "x" * 300,
    ],
)
def test_an_invalid_tag_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"machines|range|names"):
        host_names.expand(value)


def test_names_that_do_not_fit_into_a_tag_are_refused() -> None:
    with pytest.raises(ValueError, match="500 VMs do not fit into a tag of 256"):
        host_names.compress([f"ml-{number}" for number in range(0, 1000, 2)])


def test_new_names_have_the_lowest_free_numbers() -> None:
    assert host_names.next_names("ml", 2) == ("ml-0", "ml-1")
    assert host_names.next_names("ml", 2, taken={"ml-0", "ml-1"}) == ("ml-2", "ml-3")
    assert host_names.next_names("ml", 3, taken={"ml-1", "ml-3"}) == ("ml-0", "ml-2", "ml-4")


def test_names_sort_by_number() -> None:
    assert sorted(["ml-10", "i-0ab", "ml-9"], key=host_names.sort_key) == ["i-0ab", "ml-9", "ml-10"]
