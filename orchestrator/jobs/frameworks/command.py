"""No framework: the command on every host. Rank, size and the hosts' addresses are in its environment."""

from __future__ import annotations

from orchestrator.jobs.frameworks.registry import Framework

FRAMEWORK = Framework("command")
