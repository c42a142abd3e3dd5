"""Cloud properties from reflectances in two bands with forests of randomized trees, trained and applied through Dask.

scenes            layout of scene files; finding, checking and reading scenes in blocks of rows
features          features of a pixel and the size of their footprint
train_test_split  training, buffer and test pixels
forest            trees: seeds, training, merging, hashing
worker            the environment of a task: name of its worker, scratch folder
s3_staging        scenes on S3
tasks             functions that run on the workers
dask_client       one machine or a cluster behind one interface
predictions_file  predictions.h5
evaluation        scores, from predictions.h5 alone
scene_report      metrics.json and the summary on the screen
scene_figure      retrieval.png and retrieval.pdf, with the package figure
stages            helpers shared by the pipelines of both jobs
pipeline          the stages of a run
cli               helpers shared by the command lines of both jobs
"""

from __future__ import annotations

import os
import sys

# A long-running cluster receives newer code as another zip (dask_client.upload_packages). Dask then reloads this file
# only, so modules imported from an older zip are removed here. Modules imported from a folder are kept.
for _name, _module in list(sys.modules.items()):
    _file = getattr(_module, "__file__", None) or ""
    if _name.startswith(f"{__name__}.") and ".zip" in _file and os.path.dirname(_file) != os.path.dirname(__file__):
        del sys.modules[_name]
        globals().pop(_name.rpartition(".")[2], None)
