"""Folders of the checkout that tests read from or start programs in."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orchestrator"
REMOTE = PACKAGE / "remote"
