"""Host names of a launch, compressed into one tag: ``ml-0,ml-1,ml-2,ml-7`` becomes ``ml-[0-2,7]``.

One RunInstances call gives all its instances the same tags. So the tag holds the names of the whole launch, and each
instance takes the name at its launch index.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

MAX_TAG_CHARS = 256  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
MAX_PER_LAUNCH = 1000  # instances in one RunInstances call

_COMPRESSED = re.compile(r"([a-z][a-z0-9-]*)-(?:(\d{1,9})|\[([0-9,-]+)\])")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def next_names(cluster: str, count: int, *, taken: Collection[str] = ()) -> tuple[str, ...]:
    """Return ``count`` new names with the lowest free numbers; existing instances keep theirs."""
    # The lowest numbers, not the next ones: dense names compress to short tags.
    names: list[str] = []
    number = 0
    while len(names) < count:
        if (name := f"{cluster}-{number}") not in taken:
            names.append(name)
        number += 1
    return tuple(names)


def sort_key(name: str) -> tuple[str, int, str]:
    """Return a sort key that puts ``ml-2`` before ``ml-10``; names without a number sort as text."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number), "") if number.isdecimal() else (name, -1, name)


def compress(names: Sequence[str]) -> str:
    """Return the tag value for names of one cluster in ascending order.

    :raises ValueError: they are not, or the value exceeds the length of a tag.
    """
    stems = {name.rpartition("-")[0] for name in names}
    numbers = [int(name.rpartition("-")[2]) for name in names]
    if len(stems) != 1 or numbers != sorted(set(numbers)):
        raise ValueError(f"not the ascending names of one cluster: {', '.join(names)}")
    value = names[0] if len(names) == 1 else f"{stems.pop()}-[{','.join(_ranges(numbers))}]"
    if len(value) > MAX_TAG_CHARS:
        raise ValueError(f"the names of {len(names)} VMs do not fit into a tag of {MAX_TAG_CHARS} characters")
    return value


def _ranges(numbers: Sequence[int]) -> Iterable[str]:
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[start], numbers[end - 1]
            yield str(first) if first == last else f"{first}-{last}"
            start = end


def expand(compressed: str) -> tuple[str, ...]:
    """Return the names in a tag value.

    :raises ValueError: :func:`compress` would not have written this value.
    """
    match = _COMPRESSED.fullmatch(compressed) if len(compressed) <= MAX_TAG_CHARS else None
    if match is None:
        raise ValueError(f"invalid names of hosts: {compressed!r}")
    names = tuple(f"{match[1]}-{number}" for number in ([int(match[2])] if match[2] else _numbers(match[3])))
    # One name, one spelling: a value with leading zeros or overlapping ranges was not written by Stratus.
    if compress(names) != compressed:
        raise ValueError(f"invalid names of hosts: {compressed!r}")
    return names


def _numbers(ranges: str) -> Iterable[int]:
    for part in ranges.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"invalid range of names of hosts: {part!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= MAX_PER_LAUNCH:  # bounds the work that a tag of any origin can cause
            raise ValueError(f"more than {MAX_PER_LAUNCH} names of hosts: {part!r}")
        yield from range(first, last + 1)
