"""Assessment of predictions.h5 beyond the scores: bins, intervals, calibration, and two simpler retrievals beside ours.

pair_sums       sums over pairs of truth and estimate by bin or tile, and the statistics derived from them
bootstrap       intervals of scores and of their differences, by resampling tiles
mie             extinction, scattering and asymmetry of water droplets
plane_parallel  reflectance of homogeneous clouds by adding and doubling
bispectral      look-up retrieval of single pixels
quality         the content of metrics.json
"""
