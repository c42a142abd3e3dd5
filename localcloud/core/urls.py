"""Paths that the cloud serves beside the AWS APIs; all begin with an underscore."""

from __future__ import annotations

#: Prefix of the instance metadata service, followed by the instance id.
METADATA = "/_imds/"
#: Instances, as JSON.
STATUS = "/_localcloud/status"
#: API calls so far, as JSON.
CALLS = "/_localcloud/calls"
#: PUT sets the registry whose password ECR issues.
REGISTRY = "/_localcloud/registry"
#: The scenario that is played, as a file; PUT starts another.
SCENARIO = "/_localcloud/scenario"
#: Address of the user's computer as EC2 sees it, as plain text, in place of https://checkip.amazonaws.com.
CLIENT_ADDRESS = "/_localcloud/client-address"
#: Faults of the scenario that have had no effect so far, as JSON: title and kind.
UNUSED_FAULTS = "/_localcloud/unused-faults"
