"""Launchers of the user's own: the command on every host, which reads the addresses from ``$STRATUS_HOSTFILE``."""

from __future__ import annotations

from orchestrator.jobs.frameworks.registry import Framework

FRAMEWORK = Framework("hostfile", needs_multi=True)
