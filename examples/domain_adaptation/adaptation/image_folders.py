"""Images in the folder layout of Office-31: ``DOMAIN/CLASS/*.png`` or ``DOMAIN/images/CLASS/*.jpg``."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# Generators write this file beside the data they make.
SYNTHETIC_MARK = "synthetic.json"
DECODE_THREADS = 8  # threads that decode; Pillow lets go of Python's lock


class DataError(Exception):
    """Images that cannot be used; the message is one line that says where and what."""


@dataclass(frozen=True)
class DomainFiles:
    """One domain's files.

    :param paths: images, class by class, sorted by name.
    :param labels: each one's class, as an index into ``classes``.
    """

    domain: str
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]


def list_domains(data: Path, source: str, target: str) -> tuple[DomainFiles, DomainFiles]:
    """Both domains' files; they must have the same classes.

    :raises DataError: a folder is missing, a class is empty, or the classes differ.
    """
    if source == target:
        raise DataError(f"source and target are the same domain, {source}: choose two")
    pair = list_domain(data, source), list_domain(data, target)
    for one, other in (pair, pair[::-1]):
        if missing := sorted(set(one.classes) - set(other.classes)):
            raise DataError(
                f"{data}: {one.domain} has {len(missing)} class(es) that {other.domain} lacks, "
                f"such as {missing[0]}: both need the same"
            )
    return pair


def list_domain(data: Path, domain: str) -> DomainFiles:
    """One domain's files.

    :raises DataError: it is missing, or a class in it is empty.
    """
    top = data / domain
    if not top.is_dir():
        if not data.is_dir():
            raise DataError(f"{data}: no such folder; synthesize.py --out {data} makes one to try")
        there = ", ".join(sorted(path.name for path in data.iterdir() if path.is_dir())) or "no folder"
        raise DataError(f"{data}: no domain {domain} in it, there is {there}")
    if (top / "images").is_dir():  # Office-31 as it is handed out
        top = top / "images"
    classes = tuple(sorted(path.name for path in top.iterdir() if path.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{top}: {len(classes)} class folder(s), need 2 or more with images in them")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(path for path in (top / name).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise DataError(f"{top / name}: no image in this class (looked for {', '.join(IMAGE_SUFFIXES)})")
        paths += found
        labels += [label] * len(found)
    return DomainFiles(domain, classes, tuple(paths), tuple(labels))


def read_images(listing: DomainFiles, size: int) -> NDArray[np.uint8]:
    """All images, (n, 3, size, size), scaled to squares.

    :raises DataError: a file is no image.
    """
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        return np.stack(list(pool.map(partial(read_image, size=size), listing.paths)))


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """One image, (3, size, size)."""
    try:
        with Image.open(path) as image:
            shaped = image.convert("RGB")
            if shaped.size != (size, size):
                shaped = shaped.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(shaped).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: no image that can be read ({' '.join(str(error).split())})") from error


def data_kind(data: Path) -> str:
    """``synthetic`` when the generator's mark lies there, else ``files``.

    :raises DataError: the mark says neither.
    """
    mark = data / SYNTHETIC_MARK
    if not mark.is_file():
        return "files"
    try:
        return "synthetic" if json.loads(mark.read_text(encoding="utf-8"))["synthetic"] else "files"
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{mark}: not as synthesize.py writes it; make the data again") from error
