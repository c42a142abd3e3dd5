"""Generators of synthetic training data, in the file layouts of the real data.

synthetic_images          three image domains in the folder layout of Office-31 (synthesize.py)
synthetic_columns         columns observed by a lidar and a radiometer (make_columns.py)
synthetic_cross_sections  surface, clouds and haze along a line
sensor_models             the measurements of both sensors, and the labels
"""
