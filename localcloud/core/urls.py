"""Paths that this cloud answers beside those of AWS's APIs; they all begin with an underscore."""

from __future__ import annotations

#: The instance metadata service of one machine lies below this and the machine's id.
METADATA = "/_imds/"
#: What is up, as JSON.
STATUS = "/_localcloud/status"
#: The API calls so far, as JSON.
CALLS = "/_localcloud/calls"
#: PUT says which registry ECR's tokens open.
REGISTRY = "/_localcloud/registry"
#: The scenario that is played, as a file would say it; PUT plays another.
SCENARIO = "/_localcloud/scenario"
