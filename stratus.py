"""``%load_ext stratus``: the verbs in a notebook, on AWS or, after ``%stratus --local``, on the embedded cloud."""

from __future__ import annotations

from run_interface import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
