"""AWS clients of one session, each created on first use with the retries and timeouts that suit its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache as cached
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.aws import answers, error_codes, errors, request_rules
from orchestrator.aws.service_models import OPERATIONS, ServiceModels
from orchestrator.core.created_once import CreatedOnce

if TYPE_CHECKING:
    import botocore.session
    from botocore.credentials import Credentials
    from botocore.hooks import BaseEventHooks
    from botocore.loaders import Loader
    from mypy_boto3_ec2 import EC2Client

    from orchestrator.config import settings
    from orchestrator.core.clock import Clock
    from orchestrator.core.errors import StratusError

ATTEMPTS = 8  # throttling of a busy account outlasts botocore's default of three attempts
MAX_PAUSE_S = 20.0  # between two attempts; the limit of botocore's standard retry mode
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
POOL_CONNECTIONS = 16
READING = ("Describe", "Get", "List", "Head", "Search")
"""Beginnings of the names of operations that change nothing."""

OPTIONAL_TIMEOUT_S = 4
"""Read timeout for calls whose answer is optional."""


class AwsSession(Protocol):
    """The part of ``boto3.Session`` that is used."""

    @property
    def events(self) -> BaseEventHooks:
        """Hooks of all clients."""
        ...

    @property
    def client(self) -> Callable[..., Any]:
        """Function that returns a new client."""
        ...

    def get_credentials(self) -> Any:
        """Return the credentials; None if there are none."""
        ...


class CoreSession:
    """A session of botocore as boto3 would show it; boto3 itself is imported with the first client of S3 only.

    Its transfer manager takes half of boto3's import, and only uploads of files to S3 need it. botocore, too, is
    imported on first use: connections over SSH are opened before.

    :param create: returns the session, or raises a StratusError.
    """

    def __init__(self, create: Callable[[], botocore.session.Session]) -> None:
        self._create = create

    @CreatedOnce
    def core(self) -> botocore.session.Session:
        """The session of botocore."""
        core = self._create()
        core.get_component("event_emitter").register("creating-client-class.s3", _add_transfers)
        return core

    @property
    def events(self) -> BaseEventHooks:
        """Hooks of all clients."""
        return self.core.get_component("event_emitter")  # type: ignore[no-any-return]

    def client(self, service_name: str, **options: Any) -> Any:
        """Return a new client."""
        return self.core.create_client(service_name, **options)

    def get_credentials(self) -> Credentials | None:
        """Return the credentials of the default chain, or those that were set; None if there are none."""
        return self.core.get_credentials()


def _add_transfers(class_attributes: dict[str, Any], **_: Any) -> None:
    from boto3.s3.inject import inject_s3_transfer_methods

    inject_s3_transfer_methods(class_attributes)


class Clients:
    """AWS clients of one session and region; safe to share between threads.

    A client of any service comes from :meth:`service`; EC2, which many modules call, has properties of its own.

    :param session: source of the credentials and event hooks of all clients.
    :param region: such as ``us-west-2``.
    :param clock: times every wait of a function that takes these clients.
    :param profile: named in error messages only; empty means the default profile.
    :param endpoint_url: empty means the endpoint that botocore selects.
    :param sequential: make independent calls one after another in the calling thread, and pause between attempts by
        ``clock``. Otherwise independent calls run in threads, and botocore retries in real time.
    :param attempts: requests per call, the first one included, of clients that name no other number.
    :param timeout_s: read timeout of one request, seconds, of clients that name no other.
    :ivar changes: number of calls that may have changed something: what was read before the last one is out of date.
    """

    def __init__(
        self,
        session: AwsSession,
        *,
        region: str,
        clock: Clock,
        profile: str = "",
        endpoint_url: str = "",
        sequential: bool = False,
        attempts: int = ATTEMPTS,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self.session = session
        self.region = region
        self.clock = clock
        self.profile = profile
        self.sequential = sequential
        self.attempts = attempts
        self.timeout_s = timeout_s
        self.endpoint_url = endpoint_url
        self.changes = 0
        self._clients: dict[tuple[str, str, int, float, bool], Any] = {}
        self._limited: dict[tuple[int, float], Clients] = {}
        self._lock = threading.Lock()

    @property
    def ec2(self) -> EC2Client:
        """EC2, for every call but RunInstances."""
        return self.service("ec2")  # type: ignore[no-any-return]

    @property
    def ec2_once(self) -> EC2Client:
        """EC2 without botocore's retries, for RunInstances: botocore would also retry capacity errors."""
        return self.service("ec2", attempts=1)  # type: ignore[no-any-return]

    @property
    def s3(self) -> Any:
        """S3, with the caller's credentials."""
        return self.service("s3")

    def service(
        self,
        name: str,
        *,
        attempts: int | None = None,
        timeout_s: float | None = None,
        region: str = "",
        unsigned: bool = False,
    ) -> Any:
        """Return the client of an AWS service, created on first use.

        :param name: as boto3 names it, such as ``sagemaker``.
        :param attempts: requests per call, the first one included; None means the number of these clients.
        :param timeout_s: read timeout of one request, seconds; None means the timeout of these clients.
        :param region: of the endpoint; empty means the region of these clients.
        :param unsigned: send requests without credentials.
        """
        key = (name, region or self.region, attempts or self.attempts, timeout_s or self.timeout_s, unsigned)
        with self._lock:  # boto3 sessions are not thread-safe, the clients they create are
            if key not in self._clients:
                self._clients[key] = self._create(*key)
            return self._clients[key]

    def in_region(self, region: str) -> Clients:
        """Return the clients of the same session for another region."""
        return self._copy(region, self.attempts, self.timeout_s)

    def limited(self, *, attempts: int, timeout_s: float) -> Clients:
        """Return clients of the same session that give up sooner, for calls that must not delay others.

        :param attempts: requests per call, the first one included.
        :param timeout_s: read timeout of one request, seconds.
        """
        # The same ones for all callers: creating the client of a service takes longer than a request.
        with self._lock:
            key = (attempts, timeout_s)
            if key not in self._limited:
                self._limited[key] = self._copy(self.region, attempts, timeout_s)
            return self._limited[key]

    def _copy(self, region: str, attempts: int, timeout_s: float) -> Clients:
        return Clients(
            self.session,
            region=region,
            clock=self.clock,
            profile=self.profile,
            endpoint_url=self.endpoint_url,
            sequential=self.sequential,
            attempts=attempts,
            timeout_s=timeout_s,
        )

    def in_parallel(self, *calls: Callable[[], Any]) -> list[Any]:
        """Return the results of independent read-only calls made at the same time; the first error is raised."""
        if self.sequential:
            return [call() for call in calls]
        from concurrent.futures import ThreadPoolExecutor

        # Threads, not asyncio: botocore's calls block.
        with ThreadPoolExecutor(max_workers=len(calls)) as pool:
            futures = [pool.submit(call) for call in calls]
            return [future.result() for future in futures]

    @contextmanager
    def translate_errors(self, action: str) -> Iterator[None]:
        """Translate AWS errors raised inside, as :func:`errors.translate_errors` does.

        :param action: the action in progress, such as ``launching 2 x c7i.2xlarge``; begins the message.
        """
        try:
            yield
        except errors.error_types() as error:
            raise self.translate(error, action=action) from error

    def translate(self, error: Exception, *, action: str) -> StratusError:
        """Return the StratusError for an error of botocore, naming this session's profile."""
        return errors.translate(error, action=action, profile=self.profile, now=self.clock.now())

    def _count_change(self, model: Any, **_: Any) -> None:
        if not model.name.startswith(READING):
            self.changes += 1

    def _create(self, service: str, region: str, attempts: int, timeout_s: float, unsigned: bool) -> Any:
        from botocore import UNSIGNED
        from botocore.config import Config

        # Standard mode: exponential backoff with jitter, also after connection errors and throttling.
        retries: Any = {"mode": "standard", "total_max_attempts": 1 if self.sequential else attempts}
        config = Config(
            retries=retries,
            connect_timeout=min(CONNECT_TIMEOUT_S, timeout_s),
            read_timeout=timeout_s,
            user_agent_extra="stratus",  # recorded by CloudTrail
            max_pool_connections=POOL_CONNECTIONS,
            # Version 4 also for presigned URLs: S3 takes no other for buckets made since 2020.
            signature_version=UNSIGNED if unsigned else "s3v4" if service == "s3" else None,
        )
        options: dict[str, Any] = {
            "region_name": region,
            "endpoint_url": self.endpoint_url or None,
            "config": config,
        }
        client = self.session.client(service, **options)
        if service in OPERATIONS:
            # With its version named, the description has all operations.
            options["api_version"] = client.meta.service_model.api_version
            create_whole = cached(partial(self.session.client, service, **options))
            client.meta.events.register(f"getattr.{service}", partial(_other_operation, create_whole))
        answers.check_client(client)
        client.meta.events.register("before-call", self._count_change)
        client.meta.events.register("after-call", errors.note_service)
        if service in request_rules.SERVICES:
            client.meta.events.register("before-parameter-build", request_rules.check_when_sent)
        if self.sequential and attempts > 1:
            _retry_by(self.clock, client, attempts)
        return client


def _other_operation(create_whole: Callable[[], Any], event_name: str, **_: Any) -> Any:
    """Return an operation that Stratus itself does not call, of a client that has all."""
    name = event_name.rpartition(".")[2]
    return None if name.startswith("_") else getattr(create_whole(), name)


def _retry_by(clock: Clock, client: Any, attempts: int) -> None:
    """Retry a client's requests with pauses of ``clock``; botocore's own retries sleep in real time."""

    def pause(response: Any, caught_exception: Exception | None, **context: Any) -> float | None:
        attempt: int = context["attempts"]
        if attempt >= attempts or _reaction(response, caught_exception) not in ("retry", "ambiguous"):
            return None
        clock.sleep(min(2.0 ** (attempt - 1), MAX_PAUSE_S) * clock.random())
        return 0.0  # botocore sleeps for the returned time before it sends the request again

    client.meta.events.register(f"needs-retry.{client.meta.service_model.service_id.hyphenize()}", pause)


def _reaction(response: Any, error: Exception | None) -> str:
    if error is not None:
        return errors.reaction(error)
    http, parsed = response
    details = parsed.get("Error", {})
    if http.status_code < 300 or not details:
        return ""
    return error_codes.look_up(details.get("Code", ""), details.get("Message", ""), status=http.status_code).reaction


def create_clients(aws: settings.AwsSettings, clock: Clock, cache: Path | None = None) -> Clients:
    """Return the clients for the ``[aws]`` section of the settings.

    Credentials come from boto3's default chain (profile, SSO, environment, instance role); ``access_key`` and
    ``secret_key`` of an old config file are used only if that chain finds none.

    With the first use, a UsageError is raised if the profile does not exist, or its configuration is invalid.

    :param cache: folder for short copies of botocore's descriptions of services; None reads its own.
    """
    create = partial(_configured_session, aws, cache)
    return Clients(
        CoreSession(create), region=aws.region, clock=clock, profile=aws.profile, endpoint_url=aws.endpoint_url
    )


def _configured_session(aws: settings.AwsSettings, cache: Path | None) -> botocore.session.Session:
    with errors.translate_errors("reading the AWS configuration", profile=aws.profile):
        session = _botocore_session(aws.profile, aws.region, cache)
        key, secret = aws.legacy_access_key, aws.legacy_secret_key
        # Resolving the chain may ask the instance metadata service, which takes seconds elsewhere: only if needed.
        if key and secret and session.get_credentials() is None:
            session = _botocore_session(aws.profile, aws.region, cache)
            session.set_credentials(key.reveal(), secret.reveal())
    return session


def _botocore_session(profile: str, region: str, cache: Path | None) -> botocore.session.Session:
    import botocore.session

    session = botocore.session.Session(profile=profile or None)
    # Also for the calls that credentials come from: STS and SSO.
    session.set_config_variable("region", region)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path"), cache))
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
    return session


def parse_time(value: Any) -> datetime:
    """Return the time that a field of an answer states, as botocore's own parser does.

    :raises ValueError: it is no time.
    """
    from botocore.utils import parse_timestamp

    # botocore's parser takes 0.5 ms of CPU for a time: a quarter of the CPU time of listing VMs, with three times each.
    if isinstance(value, str) and "T" in value:
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo:
                return moment
    return parse_timestamp(value)


@cached
def _loader(data_path: str | None, cache: Path | None) -> Loader | ServiceModels:
    """Return the loader of service descriptions that all sessions share: it takes 0.3 s of CPU to load those in use.

    :param data_path: further folders of descriptions, as botocore's setting of this name.
    :param cache: folder for copies of them.
    """
    from botocore.loaders import create_loader

    loader = create_loader(data_path)
    # Descriptions of the user's own may change at any time.
    is_own = data_path or Path(loader.CUSTOMER_DATA_PATH).is_dir()
    return ServiceModels(loader, cache) if cache and not is_own else loader
