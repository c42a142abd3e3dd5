"""``python -m orchestrator VERB`` is ``stratus VERB`` without an install."""

from __future__ import annotations

import sys

from orchestrator.interface.cli import invocation, main

if __name__ == "__main__":
    sys.exit(main.main(setup=invocation.Setup(program="python -m orchestrator")))
