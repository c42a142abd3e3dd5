"""Measure the install of a job's Python packages: with uv and with pip alone, on a host of its own each.

    scripts/bench install [--requirements FILE] [--most 0.8]

The second install is of another job with the same packages, which the host has kept. Prints seconds and the ratio of
the first installs; exits 1 when it is above --most. Packages come from the package index.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.support.script_host import ScriptHost  # noqa: E402 - the path is set above


@dataclass(frozen=True)
class UvHost(ScriptHost):
    """A home folder on which uv is used, or not."""

    uses_uv: bool = True

    @property
    def env(self) -> dict[str, str]:
        """Environment of a login."""
        return super().env | {"STRATUS_UV": "yes" if self.uses_uv else "no"}


def install_s(host: ScriptHost, job: str, requirements: bytes) -> float:
    """Install a job's environment and return its duration in seconds."""
    python = ["python", "python.sh", job, sys.executable, "no"]
    packages = ["requirements", "requirements.sh", job, "1", "requirements.txt"]
    started_at = time.monotonic()
    status, lines = host.install([python, packages], None, **{"requirements.txt": requirements})
    if status:
        raise SystemExit("\n".join(lines[-12:]))
    return time.monotonic() - started_at


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requirements", type=Path, default=ROOT / "examples/cloud_retrieval/requirements.txt")
    parser.add_argument("--most", type=float, default=0.8, help="largest acceptable ratio of the first installs")
    options = parser.parse_args()
    requirements, seconds = options.requirements.read_bytes(), {}
    for name in ("uv", "pip"):
        with tempfile.TemporaryDirectory() as home:
            host = UvHost(Path(home), uses_uv=name == "uv")
            seconds[name] = [install_s(host, job, requirements) for job in ("first", "second")]
        print(f"{name:4} first {seconds[name][0]:5.1f} s   second {seconds[name][1]:5.1f} s", flush=True)
    ratio = seconds["uv"][0] / seconds["pip"][0]
    print(f"ratio of the first {ratio:.2f}   of the second {seconds['uv'][1] / seconds['pip'][1]:.2f}")
    return int(ratio > options.most)


if __name__ == "__main__":
    sys.exit(main())
