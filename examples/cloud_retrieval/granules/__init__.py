"""Cloud phase and top height for whole VIIRS granules, learnt from the CALIPSO lidar where the two tracks met.

names      file names of granules and tracks: what is there, what belongs together
bands      the sixteen moderate-resolution bands; Planck's function
earth      unit vectors and distances on the sphere
files      one door to the netCDF and HDF4 libraries, which bear one thread at a time
viirs      VNP02MOD and VNP03MOD: radiances, geometry, the time of each line
caliop     01kmCLay: cloud layers, classification flags, what they say of a column
collocate  which pixel of the swath lies under which profile of the track
indices    index files of the collocation, with the names of the tool that introduced them
features   what the forest sees of a pixel
learn      the training table and the forests
judge      scores: confusion, calibration, importance, uncertainty by granule
maps       the product: a NetCDF file and a picture for each granule
tasks      what runs on the workers
pipeline   the order of it all
report     metrics.json and the table on the screen
figure     granules.png
orbit, weather, light, making   synthetic granules, for machines without real ones
"""

from __future__ import annotations

import os
import sys

# As in the package retrieval: a cluster that outlives a run gets newer code as another zip, and Dask reloads this file
# only, so modules that came from an older zip have to go.
for _name, _module in list(sys.modules.items()):
    _file = getattr(_module, "__file__", None) or ""
    if _name.startswith(f"{__name__}.") and ".zip" in _file and os.path.dirname(_file) != os.path.dirname(__file__):
        del sys.modules[_name]
        globals().pop(_name.rpartition(".")[2], None)
