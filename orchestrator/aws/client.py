"""The way in to AWS: clients, who we are, whose things are ours, and every AWS error in our own words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.aws import error_codes
from orchestrator.aws.errors import reaction, translate_errors

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

    from orchestrator.config import settings
    from orchestrator.core.clock import Clock

T = TypeVar("T")

ATTEMPTS = 8  # throttling of a busy account outlasts botocore's own three
IDENTITY_ATTEMPTS = 3  # who we are is asked first: a wrong region or no network must show within seconds
MAX_PAUSE_S = 20.0  # between two attempts, as botocore's standard mode has it
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
OPTIONAL_TIMEOUT_S = 4  # for what a launch can do without
PRICING_REGION = "us-east-1"


class Clients:
    """AWS clients of one session, each made when it is first used; safe to share between threads.

    :param session: where credentials and the event hooks of all clients come from.
    :param region: such as ``us-west-2``.
    :param profile: named in messages only; empty means the default one.
    :param endpoint_url: empty means what botocore itself finds.
    :param alone: one question after another in the calling thread, pauses by this clock; None: threads, real time.
    """

    def __init__(
        self,
        session: boto3.Session,
        *,
        region: str,
        profile: str = "",
        endpoint_url: str = "",
        alone: Clock | None = None,
    ) -> None:
        self.session = session
        self.region = region
        self.profile = profile
        self._alone = alone
        self._endpoint_url = endpoint_url or None
        self._made: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()

    @property
    def ec2(self) -> EC2Client:
        """EC2, for everything but RunInstances."""
        return self._client("ec2", ATTEMPTS)  # type: ignore[no-any-return]

    @property
    def ec2_once(self) -> EC2Client:
        """EC2 without botocore's own retries, which would retry capacity errors: for RunInstances."""
        return self._client("ec2", 1)  # type: ignore[no-any-return]

    @property
    def ssm(self) -> SSMClient:
        """Systems Manager: public parameters."""
        return self._client("ssm", ATTEMPTS)  # type: ignore[no-any-return]

    @property
    def sts(self) -> STSClient:
        """Who we are."""
        return self._client("sts", IDENTITY_ATTEMPTS)  # type: ignore[no-any-return]

    @property
    def pricing(self) -> Any:
        """The price list, which is told in few regions, for all of them; asked once, and not for long."""
        return self._client("pricing", 1, region=PRICING_REGION, timeout=OPTIONAL_TIMEOUT_S)

    @property
    def quotas(self) -> Any:
        """Service Quotas; not for long either."""
        return self._client("service-quotas", 2, timeout=OPTIONAL_TIMEOUT_S)

    @property
    def s3(self) -> Any:
        """S3, for a quick look at what is there."""
        return self._client("s3", 1, timeout=OPTIONAL_TIMEOUT_S)

    @property
    def iam(self) -> Any:
        """IAM, for whether it has an instance profile."""
        return self._client("iam", 2, timeout=OPTIONAL_TIMEOUT_S)

    @property
    def ecr(self) -> Any:
        """The registry of container images: logins."""
        return self._client("ecr", IDENTITY_ATTEMPTS)

    @property
    def alone(self) -> bool:
        """Whether questions are asked one after another, in the calling thread."""
        return self._alone is not None

    def in_region(self, region: str) -> Clients:
        """Return the same session's clients for another region."""
        return Clients(
            self.session, region=region, profile=self.profile, endpoint_url=self._endpoint_url or "", alone=self._alone
        )

    def in_parallel(self, *asks: Callable[[], Any]) -> list[Any]:
        """Return the answers of independent calls made at the same time; the first error is raised."""
        return [ask() for ask in asks] if self._alone else in_parallel(*asks)

    @contextmanager
    def translate_errors(self, action: str) -> Iterator[None]:
        """Translate AWS errors raised inside, as `calls` does, naming this session's profile."""
        with translate_errors(action, profile=self.profile):
            yield

    def _client(self, service: str, attempts: int, *, region: str = "", timeout: float = READ_TIMEOUT_S) -> Any:
        from botocore.config import Config

        with self._lock:  # making clients is not thread-safe, using them is
            if (service, attempts) not in self._made:
                retries: Any = {"mode": "standard", "total_max_attempts": 1 if self._alone else attempts}
                config = Config(
                    retries=retries,
                    connect_timeout=min(CONNECT_TIMEOUT_S, timeout),
                    read_timeout=timeout,
                    user_agent_extra="stratus",
                )
                made = self.session.client(  # type: ignore[call-overload]
                    service, region_name=region or self.region, endpoint_url=self._endpoint_url, config=config
                )
                if self._alone is not None and attempts > 1:
                    _retry_by(self._alone, made, attempts)
                self._made[service, attempts] = made
            return self._made[service, attempts]


def _retry_by(patience: Clock, client: Any, attempts: int) -> None:
    """Have a client's requests repeated by a clock and a chance that were handed in, instead of botocore's own."""

    def again(response: Any, caught_exception: Exception | None, **facts: Any) -> float | None:
        made: int = facts["attempts"]
        if made >= attempts or _passing(response, caught_exception) not in ("again", "unsure"):
            return None
        patience.sleep(min(2.0 ** (made - 1), MAX_PAUSE_S) * patience.random())
        return 0.0

    client.meta.events.register(f"needs-retry.{client.meta.service_model.service_id.hyphenize()}", again)


def _passing(response: Any, error: Exception | None) -> str:
    if error is not None:
        return reaction(error)
    http, parsed = response
    said = parsed.get("Error", {})
    if http.status_code < 300 or not said:
        return ""
    return error_codes.look_up(said.get("Code", ""), said.get("Message", ""), status=http.status_code).reaction


def create_clients(aws: settings.AwsSettings) -> Clients:
    """Return the clients for the ``[aws]`` section of the settings.

    Credentials come from the default chain (profile, SSO, environment, instance role); the old ``access_key`` and
    ``secret_key`` of a config file count only when that chain finds nothing.

    :raises UsageError: the profile does not exist or its chain is broken.
    """
    import boto3

    with translate_errors("reading the AWS configuration", profile=aws.profile):
        session = boto3.Session(profile_name=aws.profile or None, region_name=aws.region)
        key, secret = aws.legacy_access_key, aws.legacy_secret_key
        if key and secret and session.get_credentials() is None:
            session = boto3.Session(
                aws_access_key_id=key.reveal(), aws_secret_access_key=secret.reveal(), region_name=aws.region
            )
    return Clients(session, region=aws.region, profile=aws.profile, endpoint_url=aws.endpoint_url)


def in_parallel(*asks: Callable[[], Any]) -> list[Any]:
    """Return the answers of independent read-only calls made at the same time; the first error is raised."""
    with ThreadPoolExecutor(max_workers=len(asks)) as pool:
        futures = [pool.submit(ask) for ask in asks]
        return [future.result() for future in futures]


# -- errors ------------------------------------------------------------------------------------------------------------
