"""Errors of requests without an answer from AWS: missing or expired credentials, unknown profile or region, network."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from orchestrator.config import ini
from orchestrator.core.errors import StratusError, UsageError


@dataclass(frozen=True)
class RequestFailure:
    """An error of botocore, with the context for its message.

    :param action: the action that failed; begins the message.
    :param profile: of the AWS configuration; ``default`` if none is configured.
    """

    error: Exception
    action: str
    profile: str

    @property
    def details(self) -> dict[str, Any]:
        """Values that botocore formatted into the text of the error."""
        return dict(getattr(self.error, "kwargs", {}))


def to_stratus_error(failure: RequestFailure) -> StratusError:
    """Return the StratusError for a failed request; it keeps botocore's text if its class is not known here."""
    # By name: botocore has many subclasses, and some exist in newer versions only.
    classes = {cls.__name__ for cls in type(failure.error).__mro__}
    convert = next((function for names, function in _CONVERSIONS if classes & names), _unknown)
    return convert(failure)


def _unknown(failure: RequestFailure) -> StratusError:
    return StratusError(f"{failure.action}: {failure.error}")


def _no_credentials(failure: RequestFailure) -> StratusError:
    return UsageError(
        "no AWS credentials in the environment (AWS_ACCESS_KEY_ID), in ~/.aws/credentials or ~/.aws/config "
        f"(profile {failure.profile}), or from an instance role",
        fix="aws configure   or   aws sso login; or set a profile in the config: [aws] profile",
    )


def _partial_credentials(failure: RequestFailure) -> StratusError:
    variable = failure.details.get("cred_var")
    return UsageError(
        f"incomplete AWS credentials ({failure.details.get('provider')}): {variable} is missing",
        fix=f"set {variable} too, or unset the other half",
    )


def _invalid_profile(failure: RequestFailure) -> StratusError:
    profiles = _profiles()
    name = str(failure.details.get("profile") or failure.profile)
    return UsageError(
        f"AWS profile {name}: {str(failure.error).rstrip('.')}.{ini.suggest(name, profiles)}",
        fix=f"available profiles: {', '.join(profiles) or 'none'}. Set [aws] profile, or create one: aws configure sso",
    )


def _profiles() -> list[str]:
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        return list(botocore.session.Session().available_profiles)
    except BotoCoreError:  # the file cannot be parsed
        return []


def _expired_login(failure: RequestFailure) -> StratusError:
    command = "aws login" if type(failure.error).__name__.startswith("Login") else "aws sso login"
    option = f" --profile {failure.profile}" if failure.profile != "default" else ""
    return UsageError(f"AWS profile {failure.profile} is not logged in, or its login has expired", fix=command + option)


def _invalid_region(failure: RequestFailure) -> StratusError:
    return _region_error(str(failure.details.get("region_name", "")), str(failure.error))


def _region_error(region: str, detail: str) -> StratusError:
    problem = f"there is no AWS region {region!r}.{ini.suggest(region, _regions())}" if region else detail
    return UsageError(problem, fix="correct [aws] region in the config")


def _no_connection(failure: RequestFailure) -> StratusError:
    """Return the error for a failed connection.

    The endpoint of a region that does not exist has no DNS entry, which looks like a network that is down.
    """
    url = str(failure.details.get("endpoint_url", ""))
    region = re.search(r"//[a-z0-9]+\.([a-z0-9-]+)\.amazonaws\.com", url)
    if region and region[1] not in _regions():
        return _region_error(region[1], str(failure.error))
    fix = "check the network, a proxy (HTTPS_PROXY), and [aws] endpoint_url"
    if _is_on_this_computer(url):
        fix = "the embedded cloud is not running at this address: leave, and begin again with --local, which starts it"
    return StratusError(f"{failure.action}: {failure.error}", fix=fix)


def _is_on_this_computer(url: str) -> bool:
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:  # a name, or no URL
        return False


def _regions() -> list[str]:
    import botocore.session

    session = botocore.session.Session()
    partitions = session.get_available_partitions()  # China and GovCloud are partitions of their own
    return [region for partition in partitions for region in session.get_available_regions("ec2", partition)]


_CONVERSIONS: tuple[tuple[frozenset[str], Callable[[RequestFailure], StratusError]], ...] = (
    (frozenset({"NoCredentialsError", "NoAuthTokenError"}), _no_credentials),
    (frozenset({"PartialCredentialsError"}), _partial_credentials),
    (frozenset({"SSOError", "TokenRetrievalError", "LoginError"}), _expired_login),
    (frozenset({"ProfileNotFound", "InvalidConfigError", "ConfigNotFound", "ConfigParseError"}), _invalid_profile),
    (frozenset({"CredentialRetrievalError", "UnknownCredentialError"}), _invalid_profile),
    (frozenset({"NoRegionError", "InvalidRegionError", "UnknownRegionError"}), _invalid_region),
    (frozenset({"HTTPClientError", "ConnectionError"}), _no_connection),
)
