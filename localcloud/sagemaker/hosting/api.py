"""Hosting of one cloud: its calls, the runtime service, tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.hosting.async_queue import AsyncQueue
from localcloud.sagemaker.hosting.endpoints import EndpointApi
from localcloud.sagemaker.hosting.interface import Site
from localcloud.sagemaker.hosting.models import ModelApi
from localcloud.sagemaker.hosting.resources import Resource
from localcloud.sagemaker.hosting.runtime import Runtime
from localcloud.sagemaker.hosting.transforms import TransformApi


class Hosting:
    """Models, endpoints and transform jobs of one cloud."""

    def __init__(self, environment: CloudEnvironment, site: Site) -> None:
        self.site = site
        self.models = ModelApi(environment)
        self.endpoints = EndpointApi(environment, self.models, site)
        self.transforms = TransformApi(environment, self.models, site)
        self.queue = AsyncQueue(site)
        self.endpoints.on_resize = self.queue.resume
        self.runtime = Runtime(self.endpoints, self.queue)

    @property
    def actions(self) -> Mapping[str, Handler]:
        """Handlers by action. Those of tags pass on what is not hosting's."""
        tags = {"AddTags": self.add_tags, "ListTags": self.list_tags, "DeleteTags": self.delete_tags}
        return {**self.models.actions, **self.endpoints.actions, **self.transforms.actions, **tags}

    def add_tags(self, call: Call) -> dict[str, Any]:
        """Answer AddTags."""
        resource = self._resource(call.params["ResourceArn"])
        if resource is None:
            return call.forward()
        resource.add_tags(call.params["Tags"])
        return {"Tags": _listed(resource)}

    def list_tags(self, call: Call) -> dict[str, Any]:
        """Answer ListTags."""
        resource = self._resource(call.params["ResourceArn"])
        if resource is not None:
            return {"Tags": _listed(resource)}
        try:
            return call.forward()
        # Raised by moto where it has no record of that name.
        except AttributeError as error:
            raise _not_found(call.params["ResourceArn"]) from error

    def delete_tags(self, call: Call) -> dict[str, Any]:
        """Answer DeleteTags."""
        resource = self._resource(call.params["ResourceArn"])
        if resource is None:
            return call.forward()
        for key in call.params["TagKeys"]:
            resource.tags.pop(key, None)
        return {}

    def close(self) -> None:
        """End all endpoints and jobs."""
        self.endpoints.close()
        self.transforms.close()
        self.site.close()

    def _resource(self, arn: str) -> Resource | None:
        registries = (self.models.models, self.models.configs, self.endpoints.endpoints, self.transforms.jobs)
        resources: list[Resource] = [resource for registry in registries for resource in registry.all()]
        resource = next((resource for resource in resources if resource.arn == arn), None)
        if resource is None and _OWN_KIND.search(arn):
            raise _not_found(arn)
        return resource


_OWN_KIND = re.compile(r":(model|endpoint-config|endpoint|transform-job)/")


def _not_found(arn: str) -> ApiError:
    kind = arn.partition("/")[0].rpartition(":")[2].replace("-", " ")
    return ApiError("ValidationException", f'Could not find {kind} "{arn}".')


def _listed(resource: Resource) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in resource.tags.items()]
