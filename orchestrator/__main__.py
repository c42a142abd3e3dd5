"""``python -m orchestrator VERB`` is ``stratus VERB`` without an install."""

from __future__ import annotations

import sys

from orchestrator.interface.cli import startup


def main() -> int:
    """Run the command line of this process."""
    # Imported here, where Ctrl-C is no traceback.
    from orchestrator.interface.cli import invocation
    from orchestrator.interface.cli import main as cli_main

    return cli_main.main(setup=invocation.Setup(program="python -m orchestrator"))


if __name__ == "__main__":
    sys.exit(startup.run_program(main))
