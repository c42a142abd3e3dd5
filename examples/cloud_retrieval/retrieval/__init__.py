"""Cloud properties from two reflectances with forests of randomised trees, trained and applied through Dask.

scenes     what a scene file holds; finding, checking, staging and reading scenes in blocks of rows
features   what the forest sees of a pixel, and how far around the pixel that reaches
split      which pixels train, which are judged, which are left out between them
forest     the trees: seeds, growing, merging, hashing
here       where a task runs: its machine's name, a scratch folder
staging    scenes on S3
tasks      what runs on the workers
cluster    one machine or many, behind one function
products   predictions.h5
judge      scores, from predictions.h5 alone
report     metrics.json, the table on the screen
figure     retrieval.png
stages     what the stages of both jobs share: clock, progress, errors
pipeline   the order of it all
command    what both command lines share: words, errors, exit codes
clouds     synthetic scenes
"""

from __future__ import annotations

import os
import sys

# A cluster that outlives a run gets newer code as another zip (cluster.ship); Dask then reloads this file only, so
# modules that came from an older zip have to go. Modules that came from a folder are left alone.
for _name, _module in list(sys.modules.items()):
    _file = getattr(_module, "__file__", None) or ""
    if _name.startswith(f"{__name__}.") and ".zip" in _file and os.path.dirname(_file) != os.path.dirname(__file__):
        del sys.modules[_name]
        globals().pop(_name.rpartition(".")[2], None)
