"""Create synthetic scenes for trying out the job, in the layout of the real ones.

    python synthesize.py --scenes 6 --size 144 --seed 1 --out data

The physics and its sources are documented in simulation/synthetic_scenes.py. Every file is marked as synthetic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import h5py
import numpy as np
from simulation.synthetic_scenes import SyntheticScene, draw_conditions, simulate_scene


def write(path: Path, scene: SyntheticScene) -> None:
    """Write one scene as an HDF5 file with the names, shapes and types of the large-eddy series."""
    planes = {
        "Reflectance_100m_resolution": (scene.reflectance, "1"),
        "Cloud_optical_thickness_(100m resolution)": (scene.cot, "1"),
        "CER_(100m resolution)": (scene.cer, "um"),
        "Native_Cloud_fraction_(100m)": (scene.cover, "1"),
        "SZA": (np.array([scene.conditions.sza]), "degree"),
        "VZA": (np.array([0]), "degree"),
        "Surface_albedo": (np.float64(scene.conditions.albedo), "1"),
    }
    with h5py.File(path, "w") as file:
        file.attrs["synthetic"] = True
        file.attrs["comment"] = "made by synthesize.py; no measurement, no radiative transfer in three dimensions"
        for name, (values, units) in planes.items():
            dataset = file.create_dataset(name, data=values)
            dataset.attrs["units"] = units
            dataset.attrs["long_name"] = name


def synthesize(out: Path, *, scenes: int, size: int, seed: int, sza: float = 60.0) -> list[Path]:
    """Write scenes to a folder; scene n of a seed does not depend on the number of scenes."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"synthetic_{number:05d}.hdf5" for number in range(1, scenes + 1)]
    for number, path in enumerate(paths):
        # A generator per scene, so that scene n does not depend on the scenes before it.
        rng = np.random.default_rng([seed, number])
        write(path, simulate_scene(size, rng, draw_conditions(rng, sza=sza)))
    return paths


def main(args: list[str] | None = None) -> int:
    """Create scenes; return the exit code."""
    parser = argparse.ArgumentParser(prog="synthesize.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the scenes; created if missing"
    )
    parser.add_argument("--scenes", type=int, default=6, metavar="N", help="number of scenes (default: 6)")
    parser.add_argument(
        "--size", type=int, default=144, metavar="N", help="pixels of 100 m along each side (default: 144)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("--sza", type=float, default=60.0, metavar="DEGREES", help="solar zenith angle (default: 60)")
    options = parser.parse_args(args)
    # The two-stream solution needs g3 > 0, which holds above 47 degrees (see two_stream).
    if options.scenes < 1 or options.size < 16 or options.seed < 0 or not 48.0 <= options.sza <= 75.0:
        print("synthesize.py: --scenes from 1, --size from 16, --seed from 0, --sza from 48 to 75", file=sys.stderr)
        return 2
    paths = synthesize(options.out, scenes=options.scenes, size=options.size, seed=options.seed, sza=options.sza)
    print(f"{len(paths)} synthetic scenes of {options.size} x {options.size} pixels in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
