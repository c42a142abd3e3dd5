"""Targets of faults: ``us-west-2a / host 3 / c7i.* / spot``."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Subject:
    """A capacity pool or an instance in it, to which a fault may apply.

    :param host: number of the instance in the order of launches, from 0; None for a pool.
    """

    region: str = ""
    zone: str = ""
    subnet: str = ""
    type: str = ""
    market: str = "on-demand"
    host: int | None = None


@dataclass(frozen=True)
class Target:
    """A set of subjects: the allowed values of each aspect, none for all.

    Types may contain wildcards; ``host`` holds ranges of numbers, both ends included.
    """

    region: tuple[str, ...] = ()
    zone: tuple[str, ...] = ()
    subnet: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    market: tuple[str, ...] = ()
    host: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target of a text: aspects separated by ``/``, each with one value or several between commas.

        :raises ValueError: a word has no meaning, or an aspect appears twice.
        """
        values_by_aspect: dict[str, tuple[object, ...]] = {}
        for part in filter(None, (part.strip() for part in text.split("/"))):
            parsed = [_read(word.strip()) for word in part.split(",")]
            aspects = {aspect for aspect, _ in parsed}
            if len(aspects) > 1:
                raise ValueError(f"{part!r} mixes {' and '.join(sorted(aspects))}: separate them with /")
            aspect = aspects.pop()
            if aspect in values_by_aspect:
                raise ValueError(f"{part!r} is a second {aspect}: separate several values with commas")
            values_by_aspect[aspect] = tuple(value for _, value in parsed)
        return cls(**values_by_aspect)  # type: ignore[arg-type]

    @property
    def aspects(self) -> set[str]:
        """Names of the aspects that have values."""
        return {field.name for field in fields(self) if getattr(self, field.name)}

    def matches(self, subject: Subject) -> bool:
        """Return whether ``subject`` is in the set."""
        return self._matches_host(subject.host) and all(
            not wanted or any(fnmatchcase(value, pattern) for pattern in wanted)
            for wanted, value in (
                (self.region, subject.region),
                (self.zone, subject.zone),
                (self.subnet, subject.subnet),
                (self.type, subject.type),
                (self.market, subject.market),
            )
        )

    def _matches_host(self, number: int | None) -> bool:
        return not self.host or (number is not None and any(first <= number <= last for first, last in self.host))

    def __str__(self) -> str:
        aspects = (self.region, self.zone, self.subnet, self.type, self.market)
        parts = [", ".join(values) for values in aspects if values]
        hosts = [f"host {first}" if first == last else f"hosts {first}-{last}" for first, last in self.host]
        return " / ".join([*parts, *([", ".join(hosts)] if hosts else [])])


EVERYWHERE = Target()


def _read(word: str) -> tuple[str, str | tuple[int, int]]:
    if match := re.fullmatch(r"hosts? (\d+)(?: ?- ?(\d+))?", word):
        first = int(match[1])
        return "host", (first, int(match[2] or first))
    for aspect, pattern in _ASPECTS.items():
        if re.fullmatch(pattern, word):
            return aspect, word
    raise ValueError(
        f"{word!r} is not a place: write a region (us-west-2), a zone (us-west-2a), a subnet (subnet-...), "
        "a type (c7i.2xlarge, g5.*), a market (on-demand, spot), or host 3"
    )


_ASPECTS = {
    "market": "on-demand|spot",
    "subnet": r"subnet-[0-9a-f]+",
    "zone": r"[a-z]{2}(-[a-z]+)+-\d[a-z]",
    "region": r"[a-z]{2}(-[a-z]+)+-\d",
    # Types of SageMaker have a prefix.
    "type": r"(ml\.)?[a-z0-9-]+\.[a-z0-9*?-]+",
}
