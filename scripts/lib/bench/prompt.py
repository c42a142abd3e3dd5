"""Measure the time to the prompt: plain IPython and Stratus side by side, in turns, on a real terminal.

    scripts/bench prompt [--rounds 7] [--most 1.5]

Prints the medians in seconds and their ratio; exits 1 when the ratio is above --most. Needs pexpect and IPython; the
embedded cloud need not run: the first prompt never waits for a cloud.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BARE = ["-m", "IPython"]
STRATUS = ["-m", "orchestrator"]


def seconds_to_prompt(arguments: list[str], prompt: str, env: dict[str, str]) -> float:
    """Start a program on a terminal of its own and return the seconds until its prompt is drawn."""
    import pexpect

    start = time.monotonic()
    child = pexpect.spawn(sys.executable, arguments, cwd=ROOT, env=env, encoding="utf-8", timeout=60)
    # prompt_toolkit queries the cursor position, and draws the prompt even if there is no answer.
    child.expect(prompt)
    elapsed_s = time.monotonic() - start
    child.close(force=True)
    return elapsed_s


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--most", type=float, default=1.5, help="largest acceptable ratio")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.ini"
        # A documentation address (RFC 5737): the first prompt must not wait for an answer.
        config.write_text("[aws]\nendpoint_url = http://192.0.2.1:1\n")
        settings = {"IPYTHONDIR": scratch, "STRATUS_HOME": scratch, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        env = os.environ | settings
        stratus = [*STRATUS, "--config", str(config), "shell"]
        seconds_to_prompt(BARE, r"In \[", env)  # the first start writes the profile
        seconds_to_prompt(stratus, r"aws.*\[\.\.\.", env)
        bare, ours = [], []
        for _ in range(options.rounds):
            bare.append(seconds_to_prompt(BARE, r"In \[", env))
            ours.append(seconds_to_prompt(stratus, r"aws.*\[\.\.\.", env))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"bare IPython {statistics.median(bare):.3f} s   stratus {statistics.median(ours):.3f} s   ratio {ratio:.2f}")
    return int(ratio > options.most)


if __name__ == "__main__":
    sys.exit(main())
