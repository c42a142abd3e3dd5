"""Simulators of scenes and granules, for running the jobs without measured data.

synthetic_scenes      cloud scenes at 0.66 and 2.13 um (synthesize.py)
orbit                 viewing geometry of VIIRS and of the CALIPSO track
synthetic_atmosphere  surface, air and two cloud decks under a granule
radiative_transfer    the sixteen VIIRS bands over such an atmosphere
synthetic_granules    VIIRS granules and CALIPSO tracks in the layout of the real files (make_granules.py)
"""
