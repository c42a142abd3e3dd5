"""Descriptions of services are kept as far as they are used: without documentation, and of EC2 a part."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import botocore
import pytest

from orchestrator.aws import client
from orchestrator.aws.service_models import KIND, OPERATIONS, OTHER_KINDS, ServiceModels
from orchestrator.config.settings import AwsSettings
from orchestrator.core.clock import REAL_CLOCK
from tests.support.aws.wire import loader

NAME = f"botocore-{botocore.__version__}-3-sts-latest.json"


def without_documentation(value: Any) -> Any:
    """Return a description without texts of this name, through its text: independent of the code that is tested."""

    def drop(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: item for name, item in pairs if not (name == "documentation" and isinstance(item, str))}

    return json.loads(json.dumps(value), object_pairs_hook=drop)


@pytest.mark.parametrize("service", ["sts", "s3", "sagemaker"])
def test_a_description_is_botocores_without_documentation(service: str, tmp_path: Path) -> None:
    kept = ServiceModels(loader(), tmp_path).load_service_model(service, KIND)
    read_again = ServiceModels(loader(), tmp_path).load_service_model(service, KIND)

    whole = loader().load_service_model(service, KIND)
    expected = without_documentation(whole)
    if "clientContextParams" in whole:
        expected["clientContextParams"] = whole["clientContextParams"]
    assert kept == read_again == expected
    # The order of operations and members is that of requests.
    assert json.dumps(read_again) == json.dumps(expected)


def test_of_ec2_the_operations_in_use_are_kept_with_all_that_they_use(tmp_path: Path) -> None:
    kept = ServiceModels(loader(), tmp_path).load_service_model("ec2", KIND)
    whole = without_documentation(loader().load_service_model("ec2", KIND))

    assert kept["operations"] == {name: whole["operations"][name] for name in OPERATIONS["ec2"]}
    used = set(re.findall(r'"shape": "(\w+)"', json.dumps(kept)))
    assert kept["shapes"] == {name: whole["shapes"][name] for name in used}
    assert len(json.dumps(kept)) < len(json.dumps(whole)) / 4


def test_operations_that_the_code_pages_through_are_kept_and_none_that_it_does_not_call() -> None:
    from botocore import xform_name

    operations = loader().load_service_model("ec2", KIND)["operations"]
    by_method = {xform_name(name): name for name in operations}
    called, paged = set(), set()
    for path in Path(client.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called.add(node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "ec2" in ast.unparse(node.func):
                paged |= {ast.literal_eval(word) for word in node.args} if node.func.attr == "get_paginator" else set()

    assert "describe_instances" in paged
    assert {by_method[method] for method in paged} <= OPERATIONS["ec2"]
    assert OPERATIONS["ec2"] <= {operation for method, operation in by_method.items() if method in called}


def test_an_operation_that_is_not_in_use_can_be_called(tmp_path: Path) -> None:
    ec2 = client.create_clients(AwsSettings(region="us-west-2"), REAL_CLOCK, tmp_path).service("ec2", unsigned=True)

    assert "CreateVpc" not in ec2.meta.service_model.operation_names
    assert callable(ec2.create_vpc)
    with pytest.raises(AttributeError):
        _ = ec2.create_moon


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_descriptions_are_kept_unchanged(kind: str, tmp_path: Path) -> None:
    kept = [ServiceModels(loader(), tmp_path).load_service_model("ec2", kind) for _ in range(2)]

    assert kept == [loader().load_service_model("ec2", kind)] * 2
    assert [path.name for path in tmp_path.iterdir()] == [NAME.replace("sts", f"ec2-{kind}")]


def test_hosts_and_signing_regions_of_services_in_use_are_botocores(tmp_path: Path) -> None:
    from botocore.regions import EndpointResolver

    models = [ServiceModels(loader(), tmp_path) for _ in range(2)]
    kept = [model.load_data_with_path("endpoints")[0] for model in models]
    whole = loader().load_data_with_path("endpoints")[0]
    names = {
        call.args[0].value
        for path in Path(client.__file__).parents[1].rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "service"
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    # Those that credentials may come from, too.
    prefixes = {loader().load_service_model(name, KIND)["metadata"]["endpointPrefix"] for name in names}
    prefixes |= {"sts", "portal.sso", "oidc"}

    assert {"ec2", "s3", "api.pricing", "iam"} <= prefixes
    assert kept[0] == kept[1]
    regions = [region for partition in whole["partitions"] for region in partition["regions"]]
    ours, botocores = (
        [resolver.construct_endpoint(prefix, region) for prefix in prefixes for region in regions]
        for resolver in (EndpointResolver(kept[0]), EndpointResolver(whole))
    )
    assert ours == botocores
    assert models[0].is_builtin_path(models[0].load_data_with_path("endpoints")[1])


@pytest.mark.parametrize("content", ["", "{", "{}", '{"operations": {}}'])
def test_a_damaged_copy_is_replaced(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    (tmp_path / "botocore-1.0-sts-latest.json").write_text("{}")

    assert "GetCallerIdentity" in ServiceModels(loader(), tmp_path).load_service_model("sts", KIND)["operations"]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert json.loads((tmp_path / NAME).read_text())["operations"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert ServiceModels(loader(), tmp_path / "file").load_service_model("sts", KIND)["shapes"]


def test_clients_are_made_from_the_copy(tmp_path: Path) -> None:
    aws = AwsSettings(region="us-west-2")
    made = client.create_clients(aws, REAL_CLOCK, tmp_path / "cache")

    assert made.service("sts", unsigned=True).meta.service_model.operation_names
    assert (tmp_path / "cache" / NAME).is_file()


def test_a_call_of_s3_can_be_made_with_the_copy(tmp_path: Path) -> None:
    """botocore reads the documentation of the parameters of its clients."""
    from botocore.model import ServiceModel

    models = ServiceModels(loader(), tmp_path)

    parameters = ServiceModel(models.load_service_model("s3", KIND), "s3").client_context_parameters
    assert "Accelerate" in {parameter.name for parameter in parameters}
