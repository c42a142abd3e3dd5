"""Synthetic images and the folder layout of Office-31."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
from adaptation import image_folders
from generators import synthetic_images
from PIL import Image

from tests.support.examples.training_runs import DEADLINE, JOB


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_generator_is_determined_by_its_seed(image_folder: Path, tmp_path: Path) -> None:
    synthetic_images.write_domains(tmp_path / "again", seed=2, size=16, share=0.06)
    synthetic_images.write_domains(tmp_path / "other", seed=3, size=16, share=0.06)

    assert file_hashes(image_folder) == file_hashes(tmp_path / "again")
    assert file_hashes(image_folder) != file_hashes(tmp_path / "other")


def test_the_generator_has_the_domains_and_the_31_classes_of_office_31(image_folder: Path) -> None:
    pairs = [image_folders.list_domain(image_folder, domain) for domain in ("amazon", "dslr", "webcam")]

    assert all(len(listing.classes) == 31 for listing in pairs)
    assert [len(listing.paths) // 31 for listing in pairs] == [5, 2, 2]
    assert image_folders.data_kind(image_folder) == "synthetic"


def test_the_generator_reports_the_number_of_images(tmp_path: Path) -> None:
    words = [sys.executable, str(JOB / "synthesize.py"), "--out", str(tmp_path / "d"), "--share", "0.01"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=DEADLINE)

    assert done.stdout.startswith("186 synthetic images, 31 classes")


def test_the_layout_of_the_office_31_archive_is_read(tmp_path: Path) -> None:
    colours = {"bike": (255, 0, 0), "mug": (0, 0, 255)}
    for name, colour in colours.items():
        folder = tmp_path / "amazon" / "images" / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (30, 20), colour).save(folder / f"frame_{number}.JPG", format="JPEG")
    listing = image_folders.list_domain(tmp_path, "amazon")
    images = image_folders.read_images(listing, 16)

    assert (listing.classes, listing.labels) == (("bike", "mug"), (0, 0, 0, 1, 1, 1))
    assert images.shape == (6, 3, 16, 16)
    assert images.dtype == np.dtype(np.uint8)
    assert images[0, 0].min() > 240 > 10 > images[0, 2].max()
    assert image_folders.data_kind(tmp_path) == "files"
