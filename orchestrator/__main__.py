"""``python -m orchestrator VERB`` is ``stratus VERB`` without an install."""

from __future__ import annotations

import sys

from orchestrator.interface.cli import main

if __name__ == "__main__":
    sys.exit(main.main(setup=main.Setup(program="python -m orchestrator")))
