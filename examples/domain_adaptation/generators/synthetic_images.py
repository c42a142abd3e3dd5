"""Three synthetic domains with the same 31 classes, in the folder layout of Office-31.

A class is a shape with a surface pattern. The domains differ in camera and surroundings, modeled after Office-31
(Saenko et al., 2010, https://doi.org/10.1007/978-3-642-15561-1_16):

- ``amazon``: the object alone, centered, on white, evenly lit;
- ``dslr``: the object at a random position in a scene, sharp, in changing light;
- ``webcam``: such a scene through a poor camera: blurred, noisy, low contrast, color cast.

None of these images is a photograph. Results on them show that the program works; they say nothing about the
performance of a method on real images. Every image depends on the seed, its domain, its class and its number only.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from adaptation.image_folders import SYNTHETIC_MARK
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float64]

SHAPES = ("disc", "square", "triangle", "ring", "cross", "star", "bar", "crescent")
PATTERNS = ("plain", "striped", "checked", "dotted")
#: One of the 32 combinations is left out: Office-31 has 31 classes.
CLASSES = tuple(sorted(f"{shape}_{pattern}" for shape in SHAPES for pattern in PATTERNS))[:31]
#: Images per class, approximately as in Office-31.
IMAGES_PER_CLASS = {"amazon": 90, "dslr": 16, "webcam": 26}


@dataclass(frozen=True)
class Pose:
    """Pose of the object: center and radius as fractions of the image's side, rotation (radians)."""

    x: float
    y: float
    radius: float
    rotation: float


def write_domains(out: Path, *, seed: int, size: int = 32, share: float = 1.0) -> int:
    """Write the three domains below ``out``; return the number of images.

    :param size: pixels along a side.
    :param share: fraction of the usual number of images per class; at least two are created.
    """
    count = 0
    for domain, full_count in IMAGES_PER_CLASS.items():
        for name in CLASSES:
            folder = out / domain / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(max(2, round(full_count * share))):
                Image.fromarray(draw_image(domain, name, number, seed=seed, size=size)).save(
                    folder / f"frame_{number + 1:04d}.png"
                )
                count += 1
    mark = {"synthetic": True, "made_by": "synthesize.py", "seed": seed, "size": size, "images": count}
    (out / SYNTHETIC_MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")
    return count


def draw_image(domain: str, name: str, number: int, *, seed: int, size: int) -> NDArray[np.uint8]:
    """Return one image, (size, size, 3), of a domain and a class."""
    # A generator per image, so that an image does not depend on the number of others.
    rng = np.random.default_rng([seed, list(IMAGES_PER_CLASS).index(domain), CLASSES.index(name), number])
    shape, pattern = name.split("_")
    pose = draw_pose(rng, domain)
    # Drawn at twice the size and averaged, for antialiased edges.
    across, up = np.meshgrid(*[(np.arange(2 * size) + 0.5) / (2 * size)] * 2)
    u, v = object_coordinates(across, up, pose)
    inside = shape_mask(shape, u, v)[..., None]
    paint_colors, background = draw_colours(rng, domain)
    surface = np.where(pattern_mask(pattern, u, v, rng)[..., None], paint_colors[0], paint_colors[1])
    light = 1 + (0.0 if domain == "amazon" else rng.uniform(0.1, 0.4)) * np.cos(
        2 * np.pi * (across * rng.uniform(-0.5, 0.5) + up * rng.uniform(-0.5, 0.5)) + rng.uniform(0, 2 * np.pi)
    )
    scene = np.where(inside, surface, background + background_clutter(rng, across, up, domain)) * light[..., None]
    averaged = scene.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    observed = apply_webcam(averaged, rng) if domain == "webcam" else averaged + rng.normal(0, 0.01, averaged.shape)
    return np.asarray(np.clip(observed, 0, 1) * 255).round().astype(np.uint8)


def draw_pose(rng: np.random.Generator, domain: str) -> Pose:
    """Draw a pose: centered and nearly upright in the catalog domain, varied in scenes."""
    max_offset = 0.04 if domain == "amazon" else 0.1
    max_rotation = 0.15 if domain == "amazon" else 0.4
    radius = rng.uniform(0.3, 0.42) if domain == "amazon" else rng.uniform(0.26, 0.4)
    return Pose(
        0.5 + rng.uniform(-max_offset, max_offset),
        0.5 + rng.uniform(-max_offset, max_offset),
        radius,
        rng.uniform(-max_rotation, max_rotation),
    )


def object_coordinates(across: Plane, up: Plane, pose: Pose) -> tuple[Plane, Plane]:
    """Return coordinates in the frame of the object, in units of its radius."""
    x, y = (across - pose.x) / pose.radius, (up - pose.y) / pose.radius
    cosine, sine = np.cos(pose.rotation), np.sin(pose.rotation)
    return cosine * x + sine * y, cosine * y - sine * x


def shape_mask(shape: str, u: Plane, v: Plane) -> NDArray[np.bool_]:
    """Return True inside the object."""
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    masks = {
        "disc": r < 0.95,
        "square": np.maximum(np.abs(u), np.abs(v)) < 0.8,
        "triangle": (v < 0.75) & (v > 1.9 * np.abs(u) - 0.95),
        "ring": (r < 1) & (r > 0.5),
        "cross": (np.minimum(np.abs(u), np.abs(v)) < 0.32) & (np.maximum(np.abs(u), np.abs(v)) < 1),
        "star": r < 0.62 + 0.38 * np.cos(5 * angle + np.pi / 2),
        "bar": (np.abs(u) < 1.05) & (np.abs(v) < 0.42),
        "crescent": (r < 1) & (np.hypot(u - 0.55, v) > 0.75),
    }
    return np.asarray(masks[shape], dtype=bool)


def pattern_mask(pattern: str, u: Plane, v: Plane, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return True where the first of the object's two colors shows."""
    wave, shift = 2 * np.pi / rng.uniform(0.55, 0.7), rng.uniform(0, 2 * np.pi)
    if pattern == "plain":
        return np.ones(u.shape, dtype=bool)
    if pattern == "striped":
        return np.asarray(np.sin(wave * v + shift) > 0)
    if pattern == "checked":
        return np.asarray(np.sin(wave * u + shift) * np.sin(wave * v + shift) > 0)
    return np.asarray(np.sin(wave * u + shift) + np.sin(wave * v + shift) < 1.0)


def draw_colours(rng: np.random.Generator, domain: str) -> tuple[Plane, Plane]:
    """Return two colors of the object, (2, 3), of different lightness, and the background's, (3,)."""
    dark, bright = rng.uniform(0.05, 0.35, 3), rng.uniform(0.55, 0.9, 3)
    paint_colors = np.stack([dark, bright] if rng.random() < 0.5 else [bright, dark])
    background = rng.uniform(0.95, 1.0, 3) if domain == "amazon" else rng.uniform(0.35, 0.95, 3)
    return paint_colors, background


def background_clutter(rng: np.random.Generator, across: Plane, up: Plane, domain: str) -> Plane:
    """Return the clutter of a scene, (.., .., 3): a few smooth waves; zero in the catalog domain."""
    total = np.zeros((*across.shape, 3))
    for _ in range(0 if domain == "amazon" else 3):
        kx, ky = rng.uniform(-3, 3, 2)
        wave = np.cos(2 * np.pi * (kx * across + ky * up) + rng.uniform(0, 2 * np.pi))
        total += wave[..., None] * rng.uniform(-0.12, 0.12, 3)
    return total


def apply_webcam(scene: Plane, rng: np.random.Generator) -> Plane:
    """Return the scene blurred, with low contrast, a color cast and noise; (size, size, 3)."""
    blurred = scene
    # A separable binomial kernel.
    for axis in (0, 1):
        before, after = (np.roll(blurred, step, axis=axis) for step in (1, -1))
        blurred = 0.25 * before + 0.5 * blurred + 0.25 * after
    # A blue cast, as from a wrong white balance.
    tint = np.array([0.75, 0.9, 1.1]) + rng.uniform(-0.05, 0.05, 3)
    low_contrast = 0.12 + 0.6 * blurred * tint
    return np.asarray(low_contrast + rng.normal(0, 0.04, scene.shape))


def main(args: list[str] | None = None) -> int:
    """Run the command line of ``synthesize.py``; return the exit code."""
    parser = argparse.ArgumentParser(prog="synthesize.py", description="Three synthetic domains of 31 classes.")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for the domains; created if missing"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all images (default: 1)")
    parser.add_argument("--size", type=int, default=32, help="pixels along a side (default: 32)")
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the usual number of images (default: 1)")
    options = parser.parse_args(args)
    if options.seed < 0 or not 16 <= options.size <= 1024 or not 0 < options.share <= 100:
        parser.exit(2, "synthesize.py: --seed from 0, --size from 16 to 1024, --share above 0 up to 100\n")
    try:
        count = write_domains(options.out, seed=options.seed, size=options.size, share=options.share)
    except OSError as error:
        parser.exit(2, f"synthesize.py: {error.filename}: {error.strerror}\n")
    print(f"{count} synthetic images, {len(CLASSES)} classes: {', '.join(IMAGES_PER_CLASS)} in {options.out}")
    return 0
