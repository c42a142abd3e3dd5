"""Descriptions of AWS services without their documentation, kept on this computer.

botocore reads the description of EC2 (11 MB of JSON with the documentation of every field) in each process: a third of
the CPU time of a short command. What is left without documentation is read in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core import json_file

if TYPE_CHECKING:
    from botocore.loaders import Loader

KIND = "service-2"
"""botocore's name for the description of a service's operations."""


class ServiceModels:
    """botocore's loader, with a copy of each description that it has read.

    :param folder: of the copies. Those of other versions of botocore are deleted.
    """

    def __init__(self, loader: Loader, folder: Path) -> None:
        self._loader = loader
        self._folder = folder
        self._models: dict[tuple[str, str | None], Mapping[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """Return a description as botocore's loader does."""
        if type_name != KIND:
            return self._loader.load_service_model(service_name, type_name, api_version)
        key = (service_name, api_version)
        if key not in self._models:
            self._models[key] = self._kept(service_name, api_version)
        return self._models[key]

    def _kept(self, service: str, api_version: str | None) -> Mapping[str, Any]:
        from botocore import __version__

        # The number is that of this form of the copies.
        prefix = f"botocore-{__version__}-2-"
        name = f"{prefix}{service}-{api_version or 'latest'}.json"
        model = json_file.load(self._folder, name)
        if model.get("operations") and model.get("shapes") and model.get("metadata"):
            return model
        whole = self._loader.load_service_model(service, KIND, api_version)
        model = dict(_without_documentation(whole))
        if parameters := whole.get("clientContextParams"):
            # botocore requires the documentation of these: without it no call of S3 can be made.
            model["clientContextParams"] = parameters
        # On a full disk, or in a read-only folder, the next process reads botocore's own again.
        with suppress(OSError):
            json_file.save(self._folder, name, model, indent=None)
            for path in self._folder.glob("botocore-*.json"):
                if not path.name.startswith(prefix):
                    path.unlink(missing_ok=True)
        return model


def _without_documentation(value: Any) -> Any:
    if isinstance(value, dict):
        # A field of this name is described by an object, not by a text.
        items = ((name, item) for name, item in value.items() if name != "documentation" or not isinstance(item, str))
        return {name: _without_documentation(item) for name, item in items}
    return [_without_documentation(item) for item in value] if isinstance(value, list) else value
