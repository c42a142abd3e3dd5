"""Where time went, as a chart in plain characters and as a drawing."""

from __future__ import annotations

from xml.etree import ElementTree

from orchestrator.interface.render import waterfall
from orchestrator.jobs.records.waterfall import HostPhases, Waterfall
from tests.support.interface.rendered import rendered

SHOWN = Waterfall(
    "20261120-141207-abc",
    "train",
    (HostPhases("ml-0", {"pending": 10.0, "job": 20.0}), HostPhases("ml-1", {"pending": 5.0, "fetch": 0.0})),
)


def test_bars_are_to_scale_and_the_table_names_the_slowest() -> None:
    assert rendered(SHOWN) == [
        "  20261120-141207-abc  train on 2 VMs",
        "",
        "  ml-0  " + "." * 20 + "#" * 40 + "  30.0 s",
        "  ml-1  " + "." * 10 + " " * 50 + "  5.0 s",
        "",
        "  .  pending  median 10.0 s  slowest 10.0 s (ml-0)",
        "  #  job      median 20.0 s  slowest 20.0 s (ml-0)",
        "  <  fetch    median 0.0 s   slowest 0.0 s (ml-1)",
    ]


def test_of_many_hosts_the_slowest_are_shown() -> None:
    hosts = tuple(HostPhases(f"ml-{number}", {"ssh": float(number)}) for number in range(100))
    text = rendered(Waterfall("", "", hosts))

    assert text[0] == "  last launch, 100 VMs"
    assert text[2].startswith("  ml-99  ")
    assert "  and 60 faster VMs" in text


def test_the_drawing_is_valid_and_names_are_text() -> None:
    hostile = Waterfall("", "", (HostPhases("<script>&\x1b[2J", {"boot": 1.0}),))

    for shown in (SHOWN, hostile):
        drawing = ElementTree.fromstring(waterfall.svg(shown))
        assert drawing.tag.endswith("svg")
    assert "<script>" not in waterfall.svg(hostile)
