"""Versions of a Dask cluster, compared with those of this computer."""

from __future__ import annotations

from typing import Any

from orchestrator.interface.shell.dask_client import version_differences


def versions(python: str, dask: str) -> dict[str, Any]:
    """Return the versions of a process, as Dask reports them."""
    packages = {"python": python, "dask": dask, "distributed": dask, "cloudpickle": "3.1.2"}
    return {"host": {"OS": "Linux"}, "packages": packages}


def test_other_versions_are_named_with_both_and_another_patch_of_python_is_the_same() -> None:
    here = versions("3.11.7.final.0", "2026.8.0")

    assert version_differences(here, versions("3.11.9.final.0", "2026.8.0")) == []
    assert version_differences(here, versions("3.12.1.final.0", "2026.7.1")) == [
        "python 3.11 here, 3.12 there",
        "dask 2026.8.0 here, 2026.7.1 there",
        "distributed 2026.8.0 here, 2026.7.1 there",
    ]
