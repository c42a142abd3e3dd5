"""SageMaker's calls for models and endpoint configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker import roles
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.hosting import rules
from localcloud.sagemaker.hosting.resources import Registry, Resource

MODEL, CONFIG = "model", "endpoint-config"


class ModelApi:
    """Models and endpoint configurations of all regions."""

    def __init__(self, environment: CloudEnvironment) -> None:
        self.environment = environment
        self.models = Registry[Resource]("model")
        self.configs = Registry[Resource]("endpoint configuration")
        #: Returns True for an image that the registry does not have.
        self.is_missing: Callable[[str], bool] = lambda _: False

    @property
    def actions(self) -> Mapping[str, Handler]:
        """Handlers by action."""
        return {
            "CreateModel": self.create_model,
            "DescribeModel": self.describe_model,
            "ListModels": self.list_models,
            "DeleteModel": self.delete_model,
            "CreateEndpointConfig": self.create_config,
            "DescribeEndpointConfig": self.describe_config,
            "ListEndpointConfigs": self.list_configs,
            "DeleteEndpointConfig": self.delete_config,
        }

    def create_model(self, call: Call) -> dict[str, Any]:
        """Answer CreateModel."""
        params = call.params
        if ("PrimaryContainer" in params) == bool(params.get("Containers")):
            raise ApiError("ValidationException", "Specify either PrimaryContainer or Containers.")
        roles.check(params.get("ExecutionRoleArn", ""))
        for container in params.get("Containers") or [params["PrimaryContainer"]]:
            if self.is_missing(image := container.get("Image", "")):
                raise ApiError("ValidationException", f"Requested image {image} not found.")
        return {"ModelArn": self._add(self.models, MODEL, "ModelName", call).arn}

    def describe_model(self, call: Call) -> dict[str, Any]:
        """Answer DescribeModel."""
        model = self.models.named(call.region, call.params["ModelName"], MODEL)
        fields = ("ModelName", "PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig")
        facts = {name: model.request[name] for name in fields if name in model.request}
        return {**facts, "ModelArn": model.arn, "CreationTime": model.created_at, "EnableNetworkIsolation": False}

    def list_models(self, call: Call) -> dict[str, Any]:
        """Answer ListModels."""
        page: dict[str, Any] = self.models.page(
            call.region,
            call.params,
            "Models",
            lambda model: {"ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.created_at},
        )
        return page

    def delete_model(self, call: Call) -> dict[str, Any]:
        """Answer DeleteModel."""
        with self.environment.lock:
            self.models.remove(self.models.named(call.region, call.params["ModelName"], MODEL))
        return {}

    def create_config(self, call: Call) -> dict[str, Any]:
        """Answer CreateEndpointConfig."""
        rules.check_endpoint_config(call.params)
        for variant in call.params["ProductionVariants"]:
            self.models.named(call.region, variant["ModelName"], MODEL)
        return {"EndpointConfigArn": self._add(self.configs, CONFIG, "EndpointConfigName", call).arn}

    def describe_config(self, call: Call) -> dict[str, Any]:
        """Answer DescribeEndpointConfig."""
        config = self.configs.named(call.region, call.params["EndpointConfigName"], CONFIG)
        fields = ("EndpointConfigName", "ProductionVariants", "AsyncInferenceConfig", "DataCaptureConfig", "KmsKeyId")
        facts = {name: config.request[name] for name in fields if name in config.request}
        return {**facts, "EndpointConfigArn": config.arn, "CreationTime": config.created_at}

    def list_configs(self, call: Call) -> dict[str, Any]:
        """Answer ListEndpointConfigs."""
        page: dict[str, Any] = self.configs.page(
            call.region,
            call.params,
            "EndpointConfigs",
            lambda config: {
                "EndpointConfigName": config.name,
                "EndpointConfigArn": config.arn,
                "CreationTime": config.created_at,
            },
        )
        return page

    def delete_config(self, call: Call) -> dict[str, Any]:
        """Answer DeleteEndpointConfig."""
        with self.environment.lock:
            self.configs.remove(self.configs.named(call.region, call.params["EndpointConfigName"], CONFIG))
        return {}

    def _add(self, registry: Registry[Resource], kind: str, member: str, call: Call) -> Resource:
        now = self.environment.clock.utc()
        resource = Resource(kind, call.params[member], call.region, call.params, now, now)
        with self.environment.lock:
            registry.add(resource)
        return resource
