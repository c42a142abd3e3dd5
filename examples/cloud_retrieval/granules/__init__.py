"""Cloud phase and top height of whole VIIRS granules, trained on matched profiles of the CALIPSO lidar.

file_names      file names of granules and tracks, and their pairing viirs           VNP02MOD and VNP03MOD: bands,
Planck's function, radiances, geometry, scan times caliop          01kmCLay: cloud layers, classification flags, the
class of each column hdf_files       serialized access to the netCDF and HDF4 libraries, which are not thread-safe
geodesy         unit vectors and distances on the sphere collocation     matches of swath pixels with track profiles
index_files     index files of the collocation, with the names of the tool that introduced them features        features
of a pixel for the forest forest_model    training rows and the forests evaluation      scores: confusion, calibration,
importance, uncertainty by granule l2_product      the level-2 product: a NetCDF file and a picture for each granule
tasks           functions that run on the workers pipeline        the stages of a run granule_report  metrics.json and
the summary on the screen granule_figure  granules.png
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
