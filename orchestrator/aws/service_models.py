"""Descriptions of AWS services as far as Stratus needs them, kept on this computer.

botocore reads the description of EC2 (11 MB of JSON with the documentation of every field) in each process: a third of
the CPU time of a short command. Without documentation, and of EC2 without operations that Stratus does not call, it is
read in a hundredth of the time. botocore also lists all of its folders for every file that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core import json_file

if TYPE_CHECKING:
    from botocore.loaders import Loader

KIND = "service-2"
"""botocore's name for the description of a service's operations."""

OTHER_KINDS = ("endpoint-rule-set-1", "paginators-1", "waiters-2")
"""Other descriptions that are kept, unchanged."""

OPERATIONS: Mapping[str, frozenset[str]] = {
    "ec2": frozenset(
        (
            "AttachVolume",
            "AuthorizeSecurityGroupEgress",
            "AuthorizeSecurityGroupIngress",
            "CreateImage",
            "CreatePlacementGroup",
            "CreateSecurityGroup",
            "CreateTags",
            "DeleteKeyPair",
            "DeletePlacementGroup",
            "DeleteSecurityGroup",
            "DeleteSnapshot",
            "DeleteVolume",
            "DeregisterImage",
            "DescribeCapacityReservations",
            "DescribeImages",
            "DescribeInstanceStatus",
            "DescribeInstanceTypeOfferings",
            "DescribeInstanceTypes",
            "DescribeInstances",
            "DescribeKeyPairs",
            "DescribePlacementGroups",
            "DescribeRegions",
            "DescribeSecurityGroups",
            "DescribeSnapshots",
            "DescribeSpotPriceHistory",
            "DescribeSubnets",
            "DescribeVolumes",
            "GetConsoleOutput",
            "ImportKeyPair",
            "RevokeSecurityGroupEgress",
            "RevokeSecurityGroupIngress",
            "RunInstances",
            "StartInstances",
            "StopInstances",
            "TerminateInstances",
        )
    )
}
"""Service -> operations that are kept of its latest version; of other services all are.

Any other operation loads the whole description when it is called; it cannot be paged."""

ENDPOINTS = "endpoints"
"""botocore's name for the hosts and signing regions of all services."""

SERVICES = frozenset(
    (
        "api.ecr",
        "api.pricing",
        "api.sagemaker",
        "application-autoscaling",
        "cloudwatch",
        "ec2",
        "ecr",
        "elasticfilesystem",
        "fsx",
        "iam",
        "logs",
        "monitoring",
        "oidc",
        "portal.sso",
        "pricing",
        "runtime.sagemaker",
        "s3",
        "sagemaker",
        "scheduler",
        "servicequotas",
        "signin",
        "ssm",
        "sso",
        "sts",
    )
)
"""Endpoint prefixes whose hosts are kept: of services that Stratus calls, or botocore for credentials."""


class ServiceModels:
    """botocore's loader, with a copy of each description that it has read.

    :param folder: of the copies. Those of other versions of botocore are deleted.
    """

    def __init__(self, loader: Loader, folder: Path) -> None:
        self._loader = loader
        self._folder = folder
        self._models: dict[tuple[str, str, str | None], Mapping[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """Return a description as botocore's loader does; without a version, of the operations in use."""
        key = (service_name, type_name, api_version)
        if key not in self._models:
            whole = self._loader.load_service_model
            if type_name == KIND:
                operations = None if api_version else OPERATIONS.get(service_name)
                self._models[key] = self._kept(
                    f"{service_name}-{api_version or 'latest'}",
                    lambda: _short(whole(*key), operations),
                    _is_description,
                )
            elif type_name in OTHER_KINDS:
                name = f"{service_name}-{type_name}-{api_version or 'latest'}"
                self._models[key] = self._kept(name, lambda: whole(*key), bool)
            else:
                return whole(*key)
        return self._models[key]

    def load_data_with_path(self, name: str) -> tuple[Any, str]:
        """Return a file of botocore's and its path, as botocore's loader does; of endpoints those in use."""
        if name != ENDPOINTS:
            return self._loader.load_data_with_path(name)
        path = str(Path(self._loader.BUILTIN_DATA_PATH, f"{name}.json"))
        load = self._loader.load_data_with_path
        return self._kept(name, lambda: _in_use(load(name)[0]), lambda data: bool(data.get("partitions"))), path

    def _kept(
        self, name: str, load: Callable[[], Mapping[str, Any]], is_whole: Callable[[Mapping[str, Any]], bool]
    ) -> Mapping[str, Any]:
        """Return the copy of that name, or what ``load`` returns, of which a copy is kept."""
        from botocore import __version__

        # The number is that of this form of the copies.
        prefix = f"botocore-{__version__}-3-"
        copy = json_file.load(self._folder, f"{prefix}{name}.json")
        if is_whole(copy):
            return copy
        data = load()
        # On a full disk, or in a read-only folder, the next process reads botocore's own again.
        with suppress(OSError):
            json_file.save(self._folder, f"{prefix}{name}.json", data, indent=None)
            for path in self._folder.glob("botocore-*.json"):
                if not path.name.startswith(prefix):
                    path.unlink(missing_ok=True)
        return data


def _is_description(model: Mapping[str, Any]) -> bool:
    return bool(model.get("operations") and model.get("shapes") and model.get("metadata"))


def _short(whole: Mapping[str, Any], operations: Iterable[str] | None) -> Mapping[str, Any]:
    """Return a description without documentation.

    :param operations: those to keep, with the shapes that they use; None for all.
    """
    model = dict(_without_documentation(whole))
    if parameters := whole.get("clientContextParams"):
        # botocore requires the documentation of these: without it no call of S3 can be made.
        model["clientContextParams"] = parameters
    if operations is None:
        return model
    called = {name: model["operations"][name] for name in model["operations"] if name in operations}
    used = _shapes_of(called.values(), model["shapes"])
    return model | {
        "operations": called,
        "shapes": {name: model["shapes"][name] for name in model["shapes"] if name in used},
    }


def _shapes_of(values: Iterable[Any], shapes: Mapping[str, Any]) -> set[str]:
    """Return the names of the shapes that some parts of a description use, directly or through other shapes."""
    used: set[str] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = value.get("shape")
            if isinstance(name, str) and name in shapes and name not in used:
                used.add(name)
                waiting.append(shapes[name])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return used


def _in_use(endpoints: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return botocore's endpoints without services that are not called."""
    partitions = [
        {**partition, "services": {name: hosts for name, hosts in partition["services"].items() if name in SERVICES}}
        for partition in endpoints["partitions"]
    ]
    return {**endpoints, "partitions": partitions}


def _without_documentation(value: Any) -> Any:
    if isinstance(value, dict):
        # A field of this name is described by an object, not by a text.
        items = ((name, item) for name, item in value.items() if name != "documentation" or not isinstance(item, str))
        return {name: _without_documentation(item) for name, item in items}
    return [_without_documentation(item) for item in value] if isinstance(value, list) else value
