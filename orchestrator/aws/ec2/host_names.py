"""Names of a launch's machines, packed into one tag: ``ml-0,ml-1,ml-2,ml-7`` is kept as ``ml-[0-2,7]``.

One RunInstances call gives all its machines the same tags, so the tag carries the names of the whole launch and
each machine takes the one at its launch index. A tag value holds 256 characters (EC2 user guide, tag restrictions).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

MAX_TAG_CHARS = 256
MAX_PER_LAUNCH = 1000  # machines in one RunInstances call

_PACKED = re.compile(r"([a-z][a-z0-9-]*)-(?:(\d{1,9})|\[([0-9,-]+)\])")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def next_names(cluster: str, count: int, *, taken: Collection[str] = ()) -> tuple[str, ...]:
    """Return ``count`` new names: the lowest numbers that no living machine has, so living ones keep theirs."""
    free: list[str] = []
    number = 0
    while len(free) < count:
        if (name := f"{cluster}-{number}") not in taken:
            free.append(name)
        number += 1
    return tuple(free)


def sort_key(name: str) -> tuple[str, int, str]:
    """Sort key that puts ``ml-2`` before ``ml-10``; other texts sort as they are."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number), "") if number.isdecimal() else (name, -1, name)


def _runs(numbers: Sequence[int]) -> Iterable[str]:
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[start], numbers[end - 1]
            yield str(first) if first == last else f"{first}-{last}"
            start = end


def compress(names: Sequence[str]) -> str:
    """Return the tag value for names of one cluster in ascending order.

    :raises ValueError: they are not, or the value would not fit into a tag.
    """
    stems = {name.rpartition("-")[0] for name in names}
    numbers = [int(name.rpartition("-")[2]) for name in names]
    if len(stems) != 1 or numbers != sorted(set(numbers)):
        raise ValueError(f"not the ascending names of one cluster: {', '.join(names)}")
    packed = names[0] if len(names) == 1 else f"{stems.pop()}-[{','.join(_runs(numbers))}]"
    if len(packed) > MAX_TAG_CHARS:
        raise ValueError(f"the names of {len(names)} machines do not fit into a tag of {MAX_TAG_CHARS} characters")
    return packed


def _numbers(packed: str) -> Iterable[int]:
    for part in packed.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"no range of numbers: {part!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= MAX_PER_LAUNCH:
            raise ValueError(f"more than {MAX_PER_LAUNCH} machines: {part!r}")
        yield from range(first, last + 1)


def expand(compressed: str) -> tuple[str, ...]:
    """Return the names in a tag value; only what `pack` writes is accepted.

    :raises ValueError: the value is not one that `pack` would have written.
    """
    match = _PACKED.fullmatch(compressed) if len(compressed) <= MAX_TAG_CHARS else None
    if match is None:
        raise ValueError(f"no names of machines: {compressed!r}")
    names = tuple(f"{match[1]}-{number}" for number in ([int(match[2])] if match[2] else _numbers(match[3])))
    if compress(names) != compressed:
        raise ValueError(f"no names of machines: {compressed!r}")
    return names
