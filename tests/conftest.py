"""What all tests share: in CI, hypothesis tries the same examples each time, so a red run is of the change's making."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")
