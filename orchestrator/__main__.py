"""``python -m orchestrator VERB`` is ``stratus VERB`` without an install."""

from __future__ import annotations

import sys

from orchestrator.interface import cli

if __name__ == "__main__":
    sys.exit(cli.main(setup=cli.Setup(program="python -m orchestrator")))
