"""Requests that AWS never answered, in our own words: no credentials, no login, no region, no network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.config import ini
from orchestrator.core.errors import StratusError, UsageError


@dataclass(frozen=True)
class RequestFailure:
    """One of botocore's errors.

    :param doing: what we were doing when it came.
    :param profile: of the AWS configuration; ``default`` when none was named.
    """

    error: Exception
    action: str
    profile: str

    @property
    def details(self) -> dict[str, Any]:
        """What botocore says about it besides its text."""
        return dict(getattr(self.error, "kwargs", {}))


def to_stratus_error(failure: RequestFailure) -> StratusError:
    """Return our error for it; botocore's own text when there is nothing better to say."""
    classes = {cls.__name__ for cls in type(failure.error).__mro__}
    explanation = next((explain for names, explain in _TABLE if classes & names), _as_it_is)
    return explanation(failure)


def _as_it_is(trouble: RequestFailure) -> StratusError:
    return StratusError(f"{trouble.action}: {trouble.error}")


def _no_credentials(trouble: RequestFailure) -> StratusError:
    return UsageError(
        "no AWS credentials: looked in the environment (AWS_ACCESS_KEY_ID), in ~/.aws/credentials and ~/.aws/config "
        f"(profile {trouble.profile}), and for a role of this machine",
        fix="aws configure   or   aws sso login; or name a profile in the config: [aws] profile",
    )


def _half_credentials(trouble: RequestFailure) -> StratusError:
    lacking = trouble.details.get("cred_var")
    return UsageError(
        f"half a pair of AWS credentials ({trouble.details.get('provider')}): {lacking} is missing",
        fix=f"set {lacking} too, or unset the other half",
    )


def _bad_profile(trouble: RequestFailure) -> StratusError:
    known = _profiles()
    name = str(trouble.details.get("profile") or trouble.profile)
    return UsageError(
        f"AWS profile {name}: {str(trouble.error).rstrip('.')}.{ini.suggest(name, known)}",
        fix=f"profiles there are: {', '.join(known) or 'none'}. Set [aws] profile, or make one: aws configure sso",
    )


def _profiles() -> list[str]:
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        return list(botocore.session.Session().available_profiles)
    except BotoCoreError:  # the file is so broken that its profiles cannot be listed
        return []


def _logged_out(trouble: RequestFailure) -> StratusError:
    command = "aws login" if type(trouble.error).__name__.startswith("Login") else "aws sso login"
    option = f" --profile {trouble.profile}" if trouble.profile != "default" else ""
    return UsageError(f"AWS profile {trouble.profile} is not logged in, or its login has expired", fix=command + option)


def _bad_region(trouble: RequestFailure) -> StratusError:
    return _no_region(str(trouble.details.get("region_name", "")), str(trouble.error))


def _no_region(region: str, detail: str) -> StratusError:
    what = f"there is no AWS region {region!r}.{ini.suggest(region, _regions())}" if region else detail
    return UsageError(what, fix="correct [aws] region in the config")


def _no_answer(trouble: RequestFailure) -> StratusError:
    """Tell a region that does not exist, whose address cannot be found either, from a network that is down."""
    url = str(trouble.details.get("endpoint_url", ""))
    region = re.search(r"//[a-z0-9]+\.([a-z0-9-]+)\.amazonaws\.com", url)
    if region and region[1] not in _regions():
        return _no_region(region[1], str(trouble.error))
    fix = "check the network, a proxy (HTTPS_PROXY), and [aws] endpoint_url"
    return StratusError(f"{trouble.action}: {trouble.error}", fix=fix)


def _regions() -> list[str]:
    import botocore.session

    session = botocore.session.Session()
    partitions = session.get_available_partitions()  # China and GovCloud are worlds of their own
    return [region for partition in partitions for region in session.get_available_regions("ec2", partition)]


_TABLE: tuple[tuple[frozenset[str], Callable[[RequestFailure], StratusError]], ...] = (
    (frozenset({"NoCredentialsError", "NoAuthTokenError"}), _no_credentials),
    (frozenset({"PartialCredentialsError"}), _half_credentials),
    (frozenset({"SSOError", "TokenRetrievalError", "LoginError"}), _logged_out),
    (frozenset({"ProfileNotFound", "InvalidConfigError", "ConfigNotFound", "ConfigParseError"}), _bad_profile),
    (frozenset({"CredentialRetrievalError", "UnknownCredentialError"}), _bad_profile),
    (frozenset({"NoRegionError", "InvalidRegionError", "UnknownRegionError"}), _bad_region),
    (frozenset({"HTTPClientError", "ConnectionError"}), _no_answer),
)
