"""Descriptions of services are kept without documentation, and are otherwise botocore's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore
import pytest

from orchestrator.aws import client
from orchestrator.aws.service_models import KIND, ServiceModels
from orchestrator.config.settings import AwsSettings
from orchestrator.core.clock import REAL_CLOCK
from tests.support.aws.wire import loader

NAME = f"botocore-{botocore.__version__}-2-sts-latest.json"


def without_documentation(value: Any) -> Any:
    """Return a description without texts of this name, through its text: independent of the code that is tested."""

    def drop(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: item for name, item in pairs if not (name == "documentation" and isinstance(item, str))}

    return json.loads(json.dumps(value), object_pairs_hook=drop)


@pytest.mark.parametrize("service", ["ec2", "sts", "s3", "sagemaker"])
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
