"""Parts of retrieval.png: what is shown, and how.

scene_maps  maps of one scene, and distributions over the test pixels of all scenes
panels      maps and scatters with their scales
"""
