"""AWS's error responses: codes with their HTTP status and message, in the format of each service.

EC2's codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, which lists no status codes;
those were taken from recorded responses. Words in braces are filled in by the code that raises the error.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from xml.sax.saxutils import escape

USER_ARN = "arn:aws:iam::123456789012:user/researcher"


class ApiError(Exception):
    """An error response to a call, raised anywhere below the chain's ``render_errors``.

    :param code: AWS's error code.
    :param message: AWS's message; by default that of the table.
    :param status: HTTP status; by default that of the table.
    """

    def __init__(self, code: str, message: str = "", status: int = 0, **values: object) -> None:
        known_status, known_message = ERRORS.get(code, (400, code))
        self.code, self.status = code, status or known_status
        self.message = message or known_message.format_map(_Placeholders(values))
        super().__init__(f"{code}: {self.message}")


class _Placeholders(dict[str, object]):
    def __missing__(self, name: str) -> str:
        return f"({name})"


@dataclass(frozen=True)
class ErrorResponse:
    """An error response, ready to be sent."""

    status: str
    body: bytes
    content_type: str


def render(service: str, error: ApiError) -> ErrorResponse:
    """Return an error in the format of ``service``, named as in the scope of a signature."""
    status = f"{error.status} {_PHRASES.get(error.status, 'Error')}"
    if service in _JSON_SERVICES:
        body = json.dumps({"__type": error.code, "message": error.message})
        return ErrorResponse(status, body.encode(), "application/x-amz-json-1.1")
    code, message = escape(error.code), escape(error.message)
    element = f"<Code>{code}</Code><Message>{message}</Message>"
    if service in ("s3", ""):
        body = f"<Error>{element}<RequestId>0</RequestId></Error>"
    elif service == "ec2":
        body = f"<Response><Errors><Error>{element}</Error></Errors><RequestID>0</RequestID></Response>"
    else:
        body = f"<ErrorResponse><Error><Type>Sender</Type>{element}</Error><RequestId>0</RequestId></ErrorResponse>"
    return ErrorResponse(status, body.encode(), "text/xml")


def error_code(body: bytes) -> str:
    """Return the error code in a response body of any format; empty if there is none."""
    # Only the beginning, because large answers need not be searched.
    head = body[:2000].decode("utf-8", "replace")
    match = re.search(r"<Code>([^<]*)</Code>", head) or re.search(r'"__type": ?"(?:[^"]*#)?([^"#]*)"', head)
    return match[1] if match else ""


def bad_keys(service: str) -> ApiError:
    """Return the error for an unknown access key."""
    return ApiError(
        _code_for(
            service,
            ec2="AuthFailure",
            s3="InvalidAccessKeyId",
            json="UnrecognizedClientException",
            query="InvalidClientTokenId",
        )
    )


def expired_keys(service: str) -> ApiError:
    """Return the error for credentials of an expired session."""
    code = _code_for(
        service, ec2="RequestExpired", s3="ExpiredToken", json="ExpiredTokenException", query="ExpiredToken"
    )
    return ApiError(code, status=400 if service in ("s3", "") else 0)


def clock_skewed(service: str, *, signed: str, now: str) -> ApiError:
    """Return the error for a signature whose time differs too much; both times like ``20261120T141207Z``."""
    code = _code_for(
        service,
        ec2="RequestExpired",
        s3="RequestTimeTooSkewed",
        json="InvalidSignatureException",
        query="SignatureDoesNotMatch",
    )
    early = f"Signature not yet current: {signed} is still later than {now}"
    late = f"Signature expired: {signed} is now earlier than {now}"
    message = (early if signed > now else late) + " ( 5 min.)"
    return ApiError(code, "" if service in ("ec2", "s3") else message)


def throttled(service: str) -> ApiError:
    """Return the error for too many calls."""
    return ApiError(
        _code_for(service, ec2="RequestLimitExceeded", s3="SlowDown", json="ThrottlingException", query="Throttling")
    )


def denied(service: str, action: str, *, by: str, region: str, caller_arn: str = USER_ARN) -> ApiError:
    """Return the error for a missing permission of ``caller_arn``; ``by`` is ``policy``, ``scp`` or ``boundary``."""
    code = _code_for(
        service, ec2="UnauthorizedOperation", s3="AccessDenied", json="AccessDeniedException", query="AccessDenied"
    )
    name = f"{_IAM_PREFIXES.get(service, service)}:{action}"
    reason = {
        "policy": f"because no identity-based policy allows the {name} action",
        "scp": "with an explicit deny in a service control policy",
        "boundary": f"because no permissions boundary allows the {name} action",
    }[by]
    denial = f"User: {caller_arn} is not authorized to perform: {name}"
    resource = f"on resource: arn:aws:{_IAM_PREFIXES.get(service, service)}:{region}:123456789012:*"
    if service == "ec2":
        return ApiError(code, f"You are not authorized to perform this operation. {denial} {resource} {reason}")
    return ApiError(code, f"{denial} {resource} {reason}", status=403 if service in ("s3", "sts", "iam") else 400)


def _code_for(service: str, *, ec2: str, s3: str, json: str, query: str) -> str:
    if service in _JSON_SERVICES:
        return json
    return {"ec2": ec2, "s3": s3, "": s3}.get(service, query)


_JSON_SERVICES = frozenset(
    ("ssm", "servicequotas", "pricing", "sagemaker", "logs", "ecr", "kms", "scheduler", "elasticfilesystem", "fsx")
)
_IAM_PREFIXES = {"": "s3"}
_PHRASES = {
    301: "Moved Permanently",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    411: "Length Required",
    412: "Precondition Failed",
    416: "Requested Range Not Satisfiable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}

_VALIDATED = (
    "AWS was not able to validate the provided access credentials",
    "The security token included in the request is invalid.",
)
_SLOWER = "Rate exceeded"

ERRORS: dict[str, tuple[int, str]] = {
    # Callers and permissions
    "AuthFailure": (401, _VALIDATED[0]),
    "InvalidClientTokenId": (403, _VALIDATED[1]),
    "UnrecognizedClientException": (400, _VALIDATED[1]),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist in our records."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.",
    ),
    "InvalidSignatureException": (400, "The request signature we calculated does not match."),
    "ExpiredToken": (403, "The security token included in the request is expired"),
    "ExpiredTokenException": (400, "The security token included in the request is expired"),
    "RequestExpired": (400, "Request has expired."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "UnauthorizedOperation": (403, "You are not authorized to perform this operation."),
    "AccessDenied": (403, f"User: {USER_ARN} is not authorized to perform: {{action}}"),
    "AccessDeniedException": (400, f"User: {USER_ARN} is not authorized to perform: {{action}}"),
    "Blocked": (
        403,
        "This account is currently blocked and not recognized as a valid account. Please contact "
        "aws-verification@amazon.com if you have questions.",
    ),
    "OptInRequired": (
        401,
        "You are not subscribed to this service. Please go to http://aws.amazon.com to subscribe.",
    ),
    "PendingVerification": (
        400,
        "Your request for accessing resources in this region is being validated, and you will not be able to launch "
        "additional resources in this region until the validation is complete. We will notify you by email once your "
        "request has been validated. While normally resolved within minutes, please allow up to 4 hours for this "
        "process to complete. If the issue still persists, please let us know by writing to "
        "aws-verification@amazon.com for further assistance.",
    ),
    # Throttling and service failures
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "EC2ThrottledException": (503, _SLOWER),
    "Throttling": (400, _SLOWER),
    "ThrottlingException": (400, _SLOWER),
    "TooManyRequestsException": (429, _SLOWER),
    "SlowDown": (503, "Please reduce your request rate."),
    "InternalError": (500, "An internal error has occurred"),
    "InternalFailure": (500, "The request processing has failed because of an unknown error, exception or failure."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "Unavailable": (503, "The server is overloaded and can't handle the request."),
    "RequestTimeout": (400, "Your socket connection to the server was not read from or written to in time."),
    # Capacity
    "InsufficientInstanceCapacity": (
        500,
        "We currently do not have sufficient capacity for the instance type you requested.",
    ),
    "InsufficientHostCapacity": (500, "There is not enough capacity to fulfill your Dedicated Host request."),
    "InsufficientReservedInstanceCapacity": (
        500,
        "There is not enough capacity to fulfill your Reserved Instance request.",
    ),
    "InsufficientCapacity": (500, "There is not enough capacity to fulfill your request."),
    "ReservationCapacityExceeded": (
        400,
        "The requested capacity exceeds the available capacity of the Capacity Reservation.",
    ),
    "UnfulfillableCapacity": (
        400,
        "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.",
    ),
    "InsufficientFreeAddressesInSubnet": (400, "There are not enough free addresses in the subnet."),
    "Unsupported": (400, "The requested configuration is currently not supported."),
    # Limits
    "VcpuLimitExceeded": (
        400,
        "You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket "
        "that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to "
        "request an adjustment to this limit.",
    ),
    "InstanceLimitExceeded": (400, "You have exceeded the limit of running instances for this account."),
    "VolumeLimitExceeded": (400, "You have exceeded your maximum volume storage limit."),
    "AddressLimitExceeded": (400, "The maximum number of addresses has been reached."),
    "MaxSpotInstanceCountExceeded": (400, "Max spot instance count exceeded"),
    "SpotMaxPriceTooLow": (
        400,
        "Your Spot request price of {asked} is lower than the minimum required Spot request fulfillment price of "
        "{price}.",
    ),
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        403,
        "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
    ),
    # Parameters and resources
    "InvalidParameterValue": (400, "A value specified in a parameter is not valid."),
    "InvalidParameter": (400, "A parameter specified in a request is not valid."),
    "InvalidParameterCombination": (400, "The parameters may not be used in combination."),
    "MissingParameter": (400, "The request must contain a parameter that is missing."),
    "InvalidInstanceType": (400, "The instance type is not valid."),
    "InvalidAMIID.NotFound": (400, "The image id does not exist"),
    "InvalidAMIID.Malformed": (400, 'Invalid id for an image (expecting "ami-...")'),
    "InvalidAMIID.Unavailable": (400, "The image ID '{image}' is not available"),
    "InvalidSubnetID.NotFound": (400, "The subnet ID does not exist"),
    "InvalidVpcID.NotFound": (400, "The vpc ID does not exist"),
    "InvalidGroup.NotFound": (400, "The security group does not exist"),
    "InvalidGroup.Duplicate": (400, "The security group already exists"),
    "InvalidGroupId.Malformed": (400, "The security group ID is not valid."),
    "InvalidPermission.Duplicate": (400, "The specified rule already exists"),
    "InvalidKeyPair.NotFound": (400, "The key pair does not exist"),
    "InvalidKeyPair.Duplicate": (400, "The key pair already exists."),
    "InvalidInstanceID.NotFound": (400, "The instance ID does not exist"),
    "InvalidInstanceID.Malformed": (400, "Invalid id for an instance."),
    "InvalidUserData.Malformed": (400, "User data is limited to 16384 bytes"),
    "InvalidBlockDeviceMapping": (400, "A block device mapping parameter is not valid."),
    "IdempotentParameterMismatch": (
        400,
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    ),
    "IncorrectInstanceState": (400, "The instance is not in a state from which this can be done."),
    "OperationNotPermitted": (400, "The instance may not be terminated. Modify its 'disableApiTermination' attribute."),
    "DependencyViolation": (400, "resource {group} has a dependent object"),
    "DryRunOperation": (412, "Request would have succeeded, but DryRun flag is set."),
    # Other services
    "ParameterNotFound": (400, "The parameter does not exist."),
    "NoSuchEntity": (404, "The entity cannot be found."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "PermanentRedirect": (301, "The bucket you are attempting to access must be addressed using another endpoint."),
    "NoSuchResourceException": (400, "The request failed because the specified service does not exist."),
    "NotImplemented": (501, "This cloud cannot do that."),
}
