"""Table of AWS error codes: message, fix and reaction for each.

A row is selected by code and, where AWS uses one code for several causes, by words of AWS's message. An error whose
code is not in the table keeps AWS's message. Source:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from orchestrator.core.next_step import NextStep, Text

Reaction = Literal["user_error", "zone", "region", "retry", "ambiguous", "wait"]
"""Reaction to an error.

``user_error``  permanent until the user changes something
``zone``        the request may succeed in another zone or with another instance type
``region``      the request may succeed in another region, or after a quota increase
``retry``       AWS did nothing: repeat the request
``ambiguous``   AWS may have carried out the request: repeat it with the same idempotency token
``wait``        temporary: a resource is in transition, or its state is not yet visible everywhere
"""


@dataclass(frozen=True)
class ErrorCode:
    """A row of the table.

    :param codes: AWS error codes; ``*`` is a wildcard.
    :param message: begins with the cause; ``{message}`` is AWS's message.
    :param fix: command or setting that resolves it; ``{action}``, ``{instance}`` and ``{profile}`` are replaced.
    :param contains: the row applies only if AWS's message contains this text, in upper or lower case.
    """

    codes: tuple[str, ...]
    reaction: Reaction
    message: str = "{message}"
    fix: Text = ""
    contains: str = ""


UNKNOWN = ErrorCode((), "user_error")

_QUOTAS = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"

_TOO_OLD = "the request had expired when it reached AWS{skew}: {message}"
_TOO_NEW = "the request is dated in the future{skew}: {message}"
_CLOCK = "set this computer's clock (timedatectl set-ntp true); if it is right, the session has expired: aws sso login"

TABLE: tuple[ErrorCode, ...] = (
    # credentials and account
    ErrorCode(
        ("AuthFailure",),
        "user_error",
        "the image is not shared with this account: {message}",
        "choose another [cluster] image",
        contains="Not authorized for images",
    ),
    ErrorCode(
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted",),
        "user_error",
        "spot requests need a service-linked role in this account: {message}",
        "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com   or [cluster] spot_fallback",
    ),
    ErrorCode(("RequestExpired", "RequestTimeTooSkewed"), "user_error", _TOO_OLD, _CLOCK),
    ErrorCode(
        ("AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "user_error",
        _TOO_OLD,
        _CLOCK,
        contains="expired",
    ),
    ErrorCode(
        ("AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "user_error",
        _TOO_NEW,
        _CLOCK,
        contains="not yet current",
    ),
    ErrorCode(
        ("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"),
        "user_error",
        "AWS does not accept these keys: {message}",
        "aws configure --profile {profile}   (or another [aws] profile): they are wrong, deleted or not active",
    ),
    ErrorCode(
        ("ExpiredToken", "ExpiredTokenException"),
        "user_error",
        "the session has expired: {message}",
        "aws sso login --profile {profile}   (or fetch new session keys); then run the same command again",
    ),
    ErrorCode(
        ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"),
        "user_error",
        "an explicit deny forbids {action}: {message}",
        "no identity policy can allow it: ask the administrator of the organization policy or permission boundary",
        contains="explicit deny",
    ),
    ErrorCode(
        ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"),
        "user_error",
        "this identity is not allowed to perform {action}: {message}",
        'add to its policy: {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}',
    ),
    ErrorCode(
        ("OptInRequired",),
        "user_error",
        "this account is not signed up for the service or region: {message}",
        "https://console.aws.amazon.com/billing/home#/account   enables regions",
    ),
    ErrorCode(
        ("Blocked",), "user_error", "AWS has blocked this account: {message}", "https://aws.amazon.com/contact-us/"
    ),
    ErrorCode(
        ("PendingVerification",),
        "user_error",
        "AWS is still verifying this account: {message}",
        "try again later; it usually takes minutes, at most 4 hours",
    ),
    # throttling: before the quotas, whose pattern *LimitExceeded matches RequestLimitExceeded too
    ErrorCode(
        (
            "RequestLimitExceeded",
            "EC2ThrottledException",
            "Throttling*",
            "TooManyRequestsException",
            "SlowDown",
            "BandwidthLimitExceeded",
        ),
        "retry",
        "AWS is throttling requests: {message}",
        "try again in a minute",
    ),
    # quota and capacity
    ErrorCode(
        ("VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"),
        "region",
        "the quota is too small: {message}",
        f"ask for more at {_QUOTAS} or launch fewer or smaller VMs",
    ),
    ErrorCode(
        ("VolumeLimitExceeded", "AddressLimitExceeded", "SecurityGroupLimitExceeded", "*LimitExceeded"),
        "region",
        "a quota is used up: {message}",
        f"ask for more at {_QUOTAS} or delete what is no longer needed",
        contains="limit",
    ),
    ErrorCode(
        (
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientCapacity",
            "ReservationCapacityExceeded",
            "UnfulfillableCapacity",
        ),
        "zone",
        "AWS has no capacity for this instance type in this zone now: {message}",
        "try again later, or another [cluster] instance_type, or an [aws] subnet_id in another zone",
    ),
    ErrorCode(
        ("Unsupported",), "zone", fix="try another [cluster] instance_type, or an [aws] subnet_id in another zone"
    ),
    ErrorCode(
        ("InvalidPlacementGroup.InUse",),
        "zone",
        "the VMs of a cluster placement group must be in one zone: {message}",
        "try again with an [aws] subnet_id in that zone, or without [vms] placement",
        contains="availability zone",
    ),
    ErrorCode(
        ("InsufficientFreeAddressesInSubnet",),
        "zone",
        "the subnet has no free IP addresses: {message}",
        "name another [aws] subnet_id",
    ),
    ErrorCode(
        ("SpotMaxPriceTooLow",),
        "zone",
        "the spot price is above the offered price: {message}",
        "try again later, or set [cluster] spot_fallback = yes",
    ),
    ErrorCode(("Stratus.PartialLaunch",), "zone"),  # raised by run_instances.launch()
    # names and ids in the config
    ErrorCode(("InvalidInstanceType*",), "user_error", fix="correct [cluster] instance_type"),
    ErrorCode(("InvalidAMIID.*",), "user_error", fix="correct [cluster] image: ids differ from region to region"),
    ErrorCode(("InvalidSubnetID.*", "InvalidSubnet*"), "user_error", fix="correct [aws] subnet_id, or leave it empty"),
    ErrorCode(("InvalidVpcID.*",), "user_error", fix="correct [aws] vpc_id, or leave it empty"),
    ErrorCode(
        ("InvalidGroup.NotFound", "InvalidGroupId.*", "InvalidSecurityGroupID.*"),
        "user_error",
        fix="correct [aws] security_group_id, or leave it empty",
    ),
    ErrorCode(("InvalidKeyPair.NotFound",), "user_error", fix="correct [aws] key_name, or leave it empty"),
    ErrorCode(
        ("InvalidParameter",),
        "user_error",
        "subnet and security group are in different networks: {message}",
        "name [aws] subnet_id and security_group_id of one VPC",
        contains="different networks",
    ),
    ErrorCode(
        ("InvalidParameterValue", "NoSuchEntity"),
        "user_error",
        "the instance profile does not exist: {message}",
        "correct [aws] instance_profile; a new one takes about 10 s to become available",
        contains="nstance",
    ),
    ErrorCode(("InvalidUserData.Malformed",), "user_error"),
    ErrorCode(
        ("IdempotentParameterMismatch",),
        "user_error",
        "the same token was used for another request: {message}",
        NextStep("Status") + "  shows what runs; then launch again",
    ),
    ErrorCode(("InvalidGroup.Duplicate", "InvalidPermission.Duplicate", "InvalidKeyPair.Duplicate"), "user_error"),
    # instances
    ErrorCode(
        ("OperationNotPermitted",),
        "user_error",
        "it is protected: {message}",
        "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id {instance}   lifts it",
        contains="ermination",
    ),
    ErrorCode(("IncorrectInstanceState", "IncorrectState", "IncorrectSpotRequestState"), "wait"),
    ErrorCode(("InvalidInstanceID.NotFound",), "wait"),
    ErrorCode(
        ("DependencyViolation",),
        "wait",
        "a resource still depends on it: {message}",
        NextStep("TerminateAll") + "  again in a minute; it continues where this one stopped",
    ),
    # AWS failures
    ErrorCode(
        (
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
            "RequestTimeoutException",
            "500",
            "502",
            "503",
            "504",
        ),
        "ambiguous",
        "AWS reports an internal error: {message}",
        "try again; https://health.aws.amazon.com lists known incidents",
    ),
)


def look_up(code: str, message: str, *, status: int = 400) -> ErrorCode:
    """Return the row for a code and AWS's text; an unknown code with an HTTP status of 500 or more is ``unsure``."""
    for row in TABLE:
        if row.contains.lower() in message.lower() and any(fnmatchcase(code, pattern) for pattern in row.codes):
            return row
    return UNKNOWN if status < 500 else ErrorCode((), "ambiguous")
