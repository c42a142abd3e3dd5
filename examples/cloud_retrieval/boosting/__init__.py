"""Histogram gradient boosting in one or two stages, trained and applied through the tasks of the package retrieval.

members      settings, training table, one boosted model per target, tile group and seed, and their mean
calibration  mean of optical thickness and uncertainties, from predictions for pixels held out
context      maps of the first stage around a pixel, as features of the second
tasks        functions that run on the workers
training     the order of the tasks
"""

from __future__ import annotations

import os
import sys

# As in the package retrieval: a long-running cluster receives newer code as another zip, and Dask reloads this file
# only, so modules imported from an older zip are removed here.
for _name, _module in list(sys.modules.items()):
    _file = getattr(_module, "__file__", None) or ""
    if _name.startswith(f"{__name__}.") and ".zip" in _file and os.path.dirname(_file) != os.path.dirname(__file__):
        del sys.modules[_name]
        globals().pop(_name.rpartition(".")[2], None)
