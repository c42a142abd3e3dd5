"""The way in to AWS: clients, who we are, whose things are ours, and every AWS error in our own words."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.aws import connection_errors, error_codes
from orchestrator.core.errors import CloudRefused, StratusError

if TYPE_CHECKING:
    import boto3
    from botocore.exceptions import ClientError
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagTypeDef
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

    from orchestrator.config import settings
    from orchestrator.core.clock import Patience

T = TypeVar("T")

ATTEMPTS = 8  # throttling of a busy account outlasts botocore's own three
FIRST_ATTEMPTS = 3  # who we are is asked first: a wrong region or no network must show within seconds
LONGEST_PAUSE_S = 20.0  # between two attempts, as botocore's standard mode has it
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
QUICK_S = 4  # for what a launch can do without
PRICING_REGION = "us-east-1"
ADDRESS_URL = "https://checkip.amazonaws.com"
ADDRESS_TIMEOUT_S = 5

TAG_CLUSTER = "stratus:cluster"
TAG_OWNER = "stratus:owner"


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
        alone: Patience | None = None,
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
        return self._client("sts", FIRST_ATTEMPTS)  # type: ignore[no-any-return]

    @property
    def pricing(self) -> Any:
        """The price list, which is told in few regions, for all of them; asked once, and not for long."""
        return self._client("pricing", 1, region=PRICING_REGION, timeout=QUICK_S)

    @property
    def quotas(self) -> Any:
        """Service Quotas; not for long either."""
        return self._client("service-quotas", 2, timeout=QUICK_S)

    @property
    def s3(self) -> Any:
        """S3, for a quick look at what is there."""
        return self._client("s3", 1, timeout=QUICK_S)

    @property
    def iam(self) -> Any:
        """IAM, for whether it has an instance profile."""
        return self._client("iam", 2, timeout=QUICK_S)

    @property
    def ecr(self) -> Any:
        """The registry of container images: logins."""
        return self._client("ecr", FIRST_ATTEMPTS)

    @property
    def alone(self) -> bool:
        """Whether questions are asked one after another, in the calling thread."""
        return self._alone is not None

    def elsewhere(self, region: str) -> Clients:
        """Return the same session's clients for another region."""
        return Clients(
            self.session, region=region, profile=self.profile, endpoint_url=self._endpoint_url or "", alone=self._alone
        )

    def together(self, *asks: Callable[[], Any]) -> list[Any]:
        """Return the answers of independent calls made at the same time; the first error is raised."""
        return [ask() for ask in asks] if self._alone else together(*asks)

    @contextmanager
    def calls(self, doing: str) -> Iterator[None]:
        """Translate AWS errors raised inside, as `calls` does, naming this session's profile."""
        with calls(doing, profile=self.profile):
            yield

    def _client(self, service: str, attempts: int, *, region: str = "", timeout: float = READ_TIMEOUT_S) -> Any:
        from botocore.config import Config

        with self._lock:  # making clients is not thread-safe, using them is
            if (service, attempts) not in self._made:
                retries: Any = {"mode": "standard", "total_max_attempts": 1 if self._alone else attempts}
                config = Config(
                    retries=retries, connect_timeout=min(CONNECT_TIMEOUT_S, timeout), read_timeout=timeout,
                    user_agent_extra="stratus",
                )  # fmt: skip
                made = self.session.client(  # type: ignore[call-overload]
                    service, region_name=region or self.region, endpoint_url=self._endpoint_url, config=config
                )
                if self._alone is not None and attempts > 1:
                    _retry_by(self._alone, made, attempts)
                self._made[service, attempts] = made
            return self._made[service, attempts]


def _retry_by(patience: Patience, client: Any, attempts: int) -> None:
    """Have a client's requests repeated by a clock and a chance that were handed in, instead of botocore's own."""

    def again(response: Any, caught_exception: Exception | None, **facts: Any) -> float | None:
        made: int = facts["attempts"]
        if made >= attempts or _passing(response, caught_exception) not in ("again", "unsure"):
            return None
        patience.sleep(min(2.0 ** (made - 1), LONGEST_PAUSE_S) * patience.chance())
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


def clients(aws: settings.Aws) -> Clients:
    """Return the clients for the ``[aws]`` section of the settings.

    Credentials come from the default chain (profile, SSO, environment, instance role); the old ``access_key`` and
    ``secret_key`` of a config file count only when that chain finds nothing.

    :raises UsageError: the profile does not exist or its chain is broken.
    """
    import boto3

    with calls("reading the AWS configuration", profile=aws.profile):
        session = boto3.Session(profile_name=aws.profile or None, region_name=aws.region)
        key, secret = aws.legacy_access_key, aws.legacy_secret_key
        if key and secret and session.get_credentials() is None:
            session = boto3.Session(
                aws_access_key_id=key.reveal(), aws_secret_access_key=secret.reveal(), region_name=aws.region
            )
    return Clients(session, region=aws.region, profile=aws.profile, endpoint_url=aws.endpoint_url)


@dataclass(frozen=True)
class Identity:
    """Who AWS says we are."""

    account: str
    arn: str

    @property
    def owner(self) -> str:
        """The ARN as it stays from one session to the next: a session name that botocore made up is left out."""
        return re.sub(r"/(botocore-session-\d+|AWSCLI-Session)$", "", self.arn)


def identity(clients: Clients) -> Identity:
    """Ask AWS who we are: one call, needs no permission, and finds bad credentials before anything else is asked."""
    with clients.calls("asking AWS who you are"):
        answer = clients.sts.get_caller_identity()
    return Identity(account=answer["Account"], arn=answer["Arn"])


@dataclass(frozen=True)
class Mine:
    """Whose cluster: all that tells our things in an account from everybody else's.

    :param cluster: name of the cluster.
    :param owner: value of the tag ``stratus:owner``.
    :param account: AWS account number.
    :param region: such as ``us-west-2``.
    """

    cluster: str
    owner: str
    account: str
    region: str

    @property
    def name(self) -> str:
        """Name of this cluster's own things: a rehearsal's and a colleague's differ, even in one cluster's name."""
        return f"stratus-{self.cluster}-{sha256(f'{self.account}/{self.owner}'.encode()).hexdigest()[:8]}"

    @property
    def facts(self) -> dict[str, str]:
        """The form that the journal keeps."""
        return asdict(self)

    @property
    def tags(self) -> list[TagTypeDef]:
        """The tags that every thing of ours carries."""
        return [{"Key": TAG_CLUSTER, "Value": self.cluster}, {"Key": TAG_OWNER, "Value": self.owner}]

    @property
    def filters(self) -> list[FilterTypeDef]:
        """Describe filters for those tags."""
        return [tag_filter(TAG_CLUSTER, self.cluster), tag_filter(TAG_OWNER, self.owner)]

    def carried_by(self, tags: Iterable[TagTypeDef]) -> bool:
        """Whether tags say that a thing is ours."""
        found = {tag.get("Key"): tag.get("Value") for tag in tags}
        return found.get(TAG_CLUSTER) == self.cluster and found.get(TAG_OWNER) == self.owner


def mine(clients: Clients, settings: settings.Settings, identity: Identity) -> Mine:
    """Return whose cluster the settings mean: the owner they name, else the caller."""
    owner = settings.cluster.owner or identity.owner
    return Mine(cluster=settings.cluster.name, owner=owner, account=identity.account, region=clients.region)


def tag_filter(key: str, value: str) -> FilterTypeDef:
    """Return a filter for one tag's exact value; EC2 reads ``*`` and ``?`` in filters as wildcards."""
    return {"Name": f"tag:{key}", "Values": [re.sub(r"([*?\\])", r"\\\1", value)]}


def together(*asks: Callable[[], Any]) -> list[Any]:
    """Return the answers of independent read-only calls made at the same time; the first error is raised."""
    with ThreadPoolExecutor(max_workers=len(asks)) as pool:
        futures = [pool.submit(ask) for ask in asks]
        return [future.result() for future in futures]


def my_address() -> str:
    """Return this computer's public address as AWS sees it, asked of https://checkip.amazonaws.com.

    :raises StratusError: it cannot be found out.
    """
    from ipaddress import ip_address
    from urllib.request import urlopen

    try:
        with urlopen(ADDRESS_URL, timeout=ADDRESS_TIMEOUT_S) as answer:
            return str(ip_address(answer.read(64).decode("ascii", "replace").strip()))
    except (OSError, ValueError) as error:
        raise StratusError(
            f"your public address could not be found out at {ADDRESS_URL}: {error}",
            fix="name it yourself in the config: [aws] ssh_from = 203.0.113.7/32",
        ) from error


# -- errors ------------------------------------------------------------------------------------------------------------


@contextmanager
def calls(doing: str, *, profile: str = "") -> Iterator[None]:
    """Translate every AWS error raised inside.

    :param doing: what we were doing, such as ``launching 2 x c7i.2xlarge``.
    :param profile: named in messages; empty means the default one.
    :raises StratusError: in place of any botocore error.
    """
    try:
        yield
    except failures() as error:
        raise translate(error, doing=doing, profile=profile) from error


def failures() -> tuple[type[Exception], ...]:
    """Return every class of error that a call to AWS can raise."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (BotoCoreError, ClientError, ResponseParserError)


def translate(error: Exception, *, doing: str, profile: str = "", now: datetime | None = None) -> StratusError:
    """Return one of our errors for one of botocore's.

    :param doing: what we were doing when it came.
    :param profile: named in messages; empty means the default one.
    :param now: this computer's time, for the message about a clock that is off.
    """
    from botocore.exceptions import ClientError

    profile = profile or os.environ.get("AWS_PROFILE", "") or "default"
    if isinstance(error, StratusError):
        return error
    if isinstance(error, ClientError):
        return _refused(error, doing, profile, now or datetime.now(UTC))
    return connection_errors.explain(connection_errors.Trouble(error, doing, profile))


def code_of(error: Exception) -> str:
    """Return AWS's own error code; empty when AWS did not answer."""
    return str(_told(error).get("Code", ""))


def said_by(error: Exception) -> str:
    """Return AWS's own text; empty when AWS did not answer."""
    return str(_told(error).get("Message", ""))


def _told(error: Exception) -> dict[str, Any]:
    # Errors of the transport have a response, too: None.
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return dict(response.get("Error", {}))


def reaction(error: Exception) -> error_codes.Reaction:
    """Return how to react to an error of botocore's; without an answer the question is whether AWS got the request."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        return error_codes.look_up(code_of(error), said_by(error), status=status).reaction
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError):
        return "again"
    lost = exceptions.HTTPClientError | exceptions.IncompleteReadError | ResponseParserError
    return "unsure" if isinstance(error, lost) else "user"


def _refused(error: ClientError, doing: str, profile: str, now: datetime) -> CloudRefused:
    code, said = code_of(error), said_by(error)
    row = error_codes.look_up(code, said)
    facts = {"said": said, "profile": profile, "action": _action(error, said), "skew": _skew(error, now)}
    facts["instance"] = next(iter(re.findall(r"\bi-[0-9a-f]{8,}", said)), "ID")
    return CloudRefused(f"{doing}: {row.words.format_map(facts)}", code=code, fix=row.fix.format_map(facts))


def _action(error: ClientError, said: str) -> str:
    named = re.search(r"perform: ([a-z0-9-]+:\w+)", said)
    return named[1] if named else f"ec2:{error.operation_name}"


def _skew(error: ClientError, now: datetime) -> str:
    """Say by how much this computer's clock differs from the Date of AWS's answer, when it does."""
    from email.utils import parsedate_to_datetime

    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        seconds = (now - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return ""
    side = "ahead" if seconds > 0 else "behind"
    return f", and this computer's clock is {abs(seconds):.0f} s {side}" if abs(seconds) >= 5 else ""
