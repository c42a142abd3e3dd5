"""The one table of AWS's error codes: what each means in plain words, what to do about it, how we react.

A row is looked up by code and, where one code covers different troubles, by words in AWS's message. A code that is
not here keeps AWS's own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from orchestrator.core.next_step import NextStep, Text

Reaction = Literal["user", "zone", "region", "again", "unsure", "wait"]
"""How to react: ``user`` must mend something, retry nothing · ``zone`` another zone or type may have it · ``region``
only another region or a raised quota helps · ``again`` nothing was done, ask again · ``unsure`` it may have been done,
ask again with the same token · ``wait`` until a state or a copy has caught up."""


@dataclass(frozen=True)
class ErrorCode:
    """One row.

    :param codes: AWS error codes, ``*`` allowed.
    :param reaction: see `Reaction`.
    :param words: what it means; ``{said}`` stands for AWS's own text.
    :param fix: what to type or edit; ``{action}``, ``{instance}`` and ``{profile}`` are filled in.
    :param about: this row only counts when AWS's text holds these words.
    """

    codes: tuple[str, ...]
    reaction: Reaction
    message: str = "{said}"
    fix: Text = ""
    contains: str = ""


UNKNOWN = ErrorCode((), "user")

_QUOTAS = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"

_TOO_OLD = "the request was too old when it reached AWS{skew}: {said}"
_TOO_NEW = "the request was newer than AWS's own time{skew}: {said}"
_CLOCK = "set this computer's clock (timedatectl set-ntp true); if it is right, the session has expired: aws sso login"

TABLE: tuple[ErrorCode, ...] = (
    # credentials and account
    ErrorCode(
        ("AuthFailure",),
        "user",
        "the image is not shared with this account: {said}",
        "choose another [cluster] image",
        contains="Not authorized for images",
    ),
    ErrorCode(
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted",),
        "user",
        "spot needs a role of the account: {said}",
        "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com   or [cluster] spot_fallback",
    ),
    ErrorCode(("RequestExpired", "RequestTimeTooSkewed"), "user", _TOO_OLD, _CLOCK),
    ErrorCode(
        ("AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "user",
        _TOO_OLD,
        _CLOCK,
        contains="expired",
    ),
    ErrorCode(
        ("AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "user",
        _TOO_NEW,
        _CLOCK,
        contains="not yet current",
    ),
    ErrorCode(
        ("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"),
        "user",
        "AWS does not accept these keys: {said}",
        "aws configure --profile {profile}   (or another [aws] profile): they are wrong, deleted or not active",
    ),
    ErrorCode(
        ("ExpiredToken", "ExpiredTokenException"),
        "user",
        "the session has expired: {said}",
        "aws sso login --profile {profile}   (or fetch new session keys); then run the same command again",
    ),
    ErrorCode(
        ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"),
        "user",
        "an explicit deny forbids {action}: {said}",
        "no policy of yours can allow it: ask whoever set the organization's policy or permission boundary",
        contains="explicit deny",
    ),
    ErrorCode(
        ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"),
        "user",
        "this identity may not do {action}: {said}",
        'add to its policy: {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}',
    ),
    ErrorCode(
        ("OptInRequired",),
        "user",
        "this account is not signed up for the service or region: {said}",
        "https://console.aws.amazon.com/billing/home#/account   enables regions",
    ),
    ErrorCode(("Blocked",), "user", "AWS has blocked this account: {said}", "https://aws.amazon.com/contact-us/"),
    ErrorCode(
        ("PendingVerification",),
        "user",
        "AWS is still verifying this account: {said}",
        "try again later; it usually takes minutes, at most 4 hours",
    ),
    # busy: before the quotas, whose pattern would take it in
    ErrorCode(
        (
            "RequestLimitExceeded",
            "EC2ThrottledException",
            "Throttling*",
            "TooManyRequestsException",
            "SlowDown",
            "BandwidthLimitExceeded",
        ),
        "again",
        "AWS asks to slow down: {said}",
        "try again in a minute",
    ),
    # quota and capacity
    ErrorCode(
        ("VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"),
        "region",
        "the quota is too small: {said}",
        f"ask for more at {_QUOTAS} or launch fewer, or smaller, machines",
    ),
    ErrorCode(
        ("VolumeLimitExceeded", "AddressLimitExceeded", "SecurityGroupLimitExceeded", "*LimitExceeded"),
        "region",
        "a quota is used up: {said}",
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
        "AWS has no free machine of this type there now: {said}",
        "try again later, or another [cluster] instance_type, or an [aws] subnet_id in another zone",
    ),
    ErrorCode(
        ("Unsupported",), "zone", fix="try another [cluster] instance_type, or an [aws] subnet_id in another zone"
    ),
    ErrorCode(
        ("InsufficientFreeAddressesInSubnet",),
        "zone",
        "the subnet has no free addresses left: {said}",
        "name another [aws] subnet_id",
    ),
    ErrorCode(
        ("SpotMaxPriceTooLow",),
        "zone",
        "spot machines cost more than the price offered now: {said}",
        "try again later, or set [cluster] spot_fallback = yes",
    ),
    ErrorCode(("Stratus.PartialLaunch",), "zone"),  # our own: see launching.PARTIAL
    # names and ids in the config
    ErrorCode(("InvalidInstanceType*",), "user", fix="correct [cluster] instance_type"),
    ErrorCode(("InvalidAMIID.*",), "user", fix="correct [cluster] image: ids differ from region to region"),
    ErrorCode(("InvalidSubnetID.*", "InvalidSubnet*"), "user", fix="correct [aws] subnet_id, or leave it empty"),
    ErrorCode(("InvalidVpcID.*",), "user", fix="correct [aws] vpc_id, or leave it empty"),
    ErrorCode(
        ("InvalidGroup.NotFound", "InvalidGroupId.*", "InvalidSecurityGroupID.*"),
        "user",
        fix="correct [aws] security_group_id, or leave it empty",
    ),
    ErrorCode(("InvalidKeyPair.NotFound",), "user", fix="correct [aws] key_name, or leave it empty"),
    ErrorCode(
        ("InvalidParameter",),
        "user",
        "subnet and security group are in different networks: {said}",
        "name [aws] subnet_id and security_group_id of one VPC",
        contains="different networks",
    ),
    ErrorCode(
        ("InvalidParameterValue", "NoSuchEntity"),
        "user",
        "the instance profile is not there: {said}",
        "correct [aws] instance_profile; one made this minute takes about 10 s to arrive",
        contains="nstance",
    ),
    ErrorCode(("InvalidUserData.Malformed",), "user"),
    ErrorCode(
        ("IdempotentParameterMismatch",),
        "user",
        "the same token was used for another request: {said}",
        NextStep("Status") + "  shows what runs; then launch again",
    ),
    ErrorCode(("InvalidGroup.Duplicate", "InvalidPermission.Duplicate", "InvalidKeyPair.Duplicate"), "user"),
    # machines
    ErrorCode(
        ("OperationNotPermitted",),
        "user",
        "it is protected: {said}",
        "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id {instance}   lifts it",
        contains="ermination",
    ),
    ErrorCode(("IncorrectInstanceState", "IncorrectState", "IncorrectSpotRequestState"), "wait"),
    ErrorCode(("InvalidInstanceID.NotFound",), "wait"),
    ErrorCode(
        ("DependencyViolation",),
        "wait",
        "something still uses it: {said}",
        NextStep("TerminateAll") + "  again in a minute; it continues where this one stopped",
    ),
    # broken
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
        "unsure",
        "AWS has trouble of its own: {said}",
        "try again; https://health.aws.amazon.com shows known trouble",
    ),
)


def look_up(code: str, message: str, *, status: int = 400) -> ErrorCode:
    """Return the row for a code and AWS's text; an unknown code with an HTTP status of 500 or more is ``unsure``."""
    for row in TABLE:
        if row.contains.lower() in message.lower() and any(fnmatchcase(code, pattern) for pattern in row.codes):
            return row
    return UNKNOWN if status < 500 else ErrorCode((), "unsure")
