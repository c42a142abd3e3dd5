"""Truth of the lidar's columns beyond the 1 km product, and the strata that they are evaluated in.

layers_5km  layers found in averages over 5 km and more (05kmMLay), and columns classified from both products strata
columns by light, surface, view zenith angle and optical depth, and their scores
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
