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
DECODE_THREADS = 8  # Pillow releases the GIL while it decodes


class DataError(Exception):
    """Unusable data. The message is one line: the location and the problem."""


@dataclass(frozen=True)
class DomainFiles:
    """Files of one domain.

    :param paths: images, class by class, sorted by name.
    :param labels: class of each image, as an index into ``classes``.
    """

    domain: str
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]


def list_domains(data: Path, source: str, target: str) -> tuple[DomainFiles, DomainFiles]:
    """Return the files of both domains, which must have the same classes.

    :raises DataError: if a folder is missing, a class is empty, or the classes differ.
    """
    if source == target:
        raise DataError(f"source and target are the same domain, {source}; choose two different ones")
    pair = list_domain(data, source), list_domain(data, target)
    for first, second in (pair, pair[::-1]):
        if missing := sorted(set(first.classes) - set(second.classes)):
            raise DataError(
                f"{data}: {first.domain} has {len(missing)} class(es) that {second.domain} lacks, "
                f"such as {missing[0]}; both domains need the same classes"
            )
    return pair


def list_domain(data: Path, domain: str) -> DomainFiles:
    """Return the files of one domain.

    :raises DataError: if it is missing, or one of its classes is empty.
    """
    folder = data / domain
    if not folder.is_dir():
        if not data.is_dir():
            raise DataError(f"{data}: no such folder; synthesize.py --out {data} creates sample images")
        domains = ", ".join(sorted(path.name for path in data.iterdir() if path.is_dir())) or "no folder"
        raise DataError(f"{data}: no domain {domain}; found: {domains}")
    if (folder / "images").is_dir():  # the layout of Office-31's archive
        folder = folder / "images"
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{folder}: {len(classes)} class folder(s), need 2 or more")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise DataError(f"{folder / name}: no image in this class ({', '.join(IMAGE_SUFFIXES)})")
        paths += images
        labels += [label] * len(images)
    return DomainFiles(domain, classes, tuple(paths), tuple(labels))


def read_images(listing: DomainFiles, size: int, *, keep_aspect: bool = False) -> NDArray[np.uint8]:
    """Return all images, (n, 3, size, size): see :func:`read_image`.

    :raises DataError: if a file is not an image.
    """
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        return np.stack(list(pool.map(partial(read_image, size=size, keep_aspect=keep_aspect), listing.paths)))


def read_image(path: Path, size: int, *, keep_aspect: bool = False) -> NDArray[np.uint8]:
    """Return one image, (3, size, size), stretched to a square.

    :param keep_aspect: scale the shorter side to ``size`` instead, and leave out both ends of the longer one.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
            if rgb.size != (size, size):
                rgb = rgb.resize(
                    (size, size), Image.Resampling.BILINEAR, box=middle_square(rgb) if keep_aspect else None
                )
            return np.asarray(rgb).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({' '.join(str(error).split())})") from error


def middle_square(image: Image.Image) -> tuple[float, float, float, float]:
    """Return the largest square in the middle of an image: left, upper, right, lower, in pixels."""
    width, height = image.size
    side = min(width, height)
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def data_kind(data: Path) -> str:
    """Return ``synthetic`` if the generator's mark is present, otherwise ``files``.

    :raises DataError: if the mark is unreadable.
    """
    mark = data / SYNTHETIC_MARK
    if not mark.is_file():
        return "files"
    try:
        return "synthetic" if json.loads(mark.read_text(encoding="utf-8"))["synthetic"] else "files"
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{mark}: not a mark written by synthesize.py; create the data again") from error
