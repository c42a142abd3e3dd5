"""Training with the real libraries: torch here, Horovod and torchrun as processes on loopback.

``scripts/test-training`` makes the environment for these tests and lets none be skipped; in one without torch or
Horovod they are.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from tests.training import launch

if all(importlib.util.find_spec(name) for name in launch.NEEDED):
    sys.path.insert(0, str(launch.JOB))
elif os.environ.get("STRATUS_TRAINING") == "required":
    raise ImportError(f"needed here: {', '.join(launch.NEEDED)}")
