"""Chart of a waterfall in plain characters, as a drawing in SVG, and the JSON document."""

from __future__ import annotations

from datetime import datetime
from html import escape

from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.units import columns
from orchestrator.jobs.records.waterfall import PHASES, HostPhases, Waterfall

WIDTH = 60
"""Characters of the longest bar."""

MARKS = dict(zip(PHASES, "a.:s=>-#<", strict=True))
"""Character of each phase in a bar."""

HOSTS_SHOWN = 40
"""Bars of the slowest hosts that are shown; the phases of all are in the table."""

COLORS = dict(
    zip(
        PHASES,
        ("#999999", "#cccccc", "#56b4e9", "#0072b2", "#e69f00", "#009e73", "#f0e442", "#d55e00", "#cc79a7"),
        strict=True,
    )
)
"""Colors that are told apart without seeing red and green: Okabe and Ito, https://jfly.uni-koeln.de/color."""

ROW_PX, BAR_PX, NAME_PX, CHART_PX = 22, 16, 150, 800


@lines.register(Waterfall)
def _(waterfall: Waterfall, _now: datetime) -> Lines:
    longest_s = max(host.total_s for host in waterfall.hosts)
    shown = waterfall.hosts
    if len(shown) > HOSTS_SHOWN:
        shown = tuple(sorted(shown, key=lambda host: -host.total_s)[:HOSTS_SHOWN])
    rows = [[host.host, _bar(host, longest_s), units.duration(host.total_s)] for host in shown]
    more = [f"  and {len(waterfall.hosts) - len(shown)} faster VMs"] if len(shown) < len(waterfall.hosts) else []
    return [_title(waterfall), "", *columns(rows), *more, "", *columns(_table(waterfall))]


def _title(waterfall: Waterfall) -> str:
    vms = units.count(len(waterfall.hosts), "VM")
    return f"  {waterfall.run_id}  {waterfall.job} on {vms}" if waterfall.run_id else f"  last launch, {vms}"


def _bar(host: HostPhases, longest_s: float) -> str:
    """Return one host's phases one after another, to scale: each ends where its time ends, rounded."""
    bar, end_s = "", 0.0
    for phase, seconds in host.seconds.items():
        end_s += seconds
        bar += MARKS[phase] * (round(WIDTH * end_s / (longest_s or 1.0)) - len(bar))
    return bar


def _table(waterfall: Waterfall) -> list[list[str]]:
    """Return a row per phase: its mark, median and slowest host."""
    rows = []
    for phase in waterfall.phases:
        seconds = sorted(host.seconds[phase] for host in waterfall.hosts if phase in host.seconds)
        slowest = waterfall.slowest(phase)
        middle = f"median {units.duration(seconds[len(seconds) // 2])}"
        rows.append([MARKS[phase], phase, middle, f"slowest {units.duration(seconds[-1])} ({slowest.host})"])
    return rows


def svg(waterfall: Waterfall) -> str:
    """Return the chart as a drawing of its own."""
    longest_s = max(host.total_s for host in waterfall.hosts) or 1.0
    height = ROW_PX * (len(waterfall.hosts) + 3)
    parts = [_text(4, ROW_PX - 6, _title(waterfall).strip())]
    for row, host in enumerate(waterfall.hosts, start=1):
        left, top = float(NAME_PX), ROW_PX * row + 8
        # A name is hostile input, also in a drawing.
        parts.append(_text(4, top + BAR_PX - 4, units.visible(host.host)))
        for phase, seconds in host.seconds.items():
            width = CHART_PX * seconds / longest_s
            label = escape(f"{phase} {units.duration(seconds)}")
            shape = f'x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BAR_PX}" fill="{COLORS[phase]}"'
            parts.append(f"<rect {shape}><title>{label}</title></rect>")
            left += width
        parts.append(_text(left + 4, top + BAR_PX - 4, units.duration(host.total_s)))
    left, top = float(NAME_PX), height - ROW_PX + 2
    for phase in waterfall.phases:
        parts.append(f'<rect x="{left:.1f}" y="{top - 11}" width="12" height="12" fill="{COLORS[phase]}"/>')
        parts.append(_text(left + 16, top, phase))
        left += 16 + 8 * len(phase) + 16
    size = f'width="{NAME_PX + CHART_PX + 90}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"


def _text(left: float, top: float, text: str) -> str:
    return f'<text x="{left:.1f}" y="{top}">{escape(text)}</text>'


@document.register(Waterfall)
def _(waterfall: Waterfall) -> Document:
    return {
        "run": waterfall.run_id,
        "job": waterfall.job,
        "hosts": {host.host: document(host) for host in waterfall.hosts},
    }


@document.register(HostPhases)
def _(host: HostPhases) -> Document:
    return {"seconds": host.total_s, "seconds_by_phase": document(host.seconds)}
