"""AWS clients: credentials of the session, clients of any service, retries by the clock that was handed in."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aws import client, identity
from orchestrator.aws.client import Clients
from orchestrator.config.settings import AwsSettings, Secret
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import CloudRefused, UsageError
from tests.support.aws.iam_policy import callable_actions
from tests.support.aws.wire import RawBody, Time, session


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AWS configuration of our own, and nothing in the environment."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "config").write_text("[profile laboratory]\nregion = us-west-2\n[profile other]\n")
    return tmp_path


@pytest.mark.usefixtures("aws_files")
def test_an_unknown_profile_lists_the_available_ones() -> None:
    with pytest.raises(UsageError) as caught:
        client.create_clients(AwsSettings(profile="laboratry"), REAL_CLOCK).session.get_credentials()

    assert "laboratry" in str(caught.value)
    assert "Did you mean laboratory?" in str(caught.value)
    assert "available profiles: laboratory, other" in str(caught.value)


@pytest.mark.usefixtures("aws_files")
def test_missing_credentials_are_an_error_before_any_call() -> None:
    with pytest.raises(UsageError, match="no AWS credentials"):
        identity.caller_identity(client.create_clients(AwsSettings(), REAL_CLOCK))


def test_legacy_keys_are_used_only_without_other_credentials(aws_files: Path) -> None:
    old = AwsSettings(legacy_access_key=Secret("OLD"), legacy_secret_key=Secret("SECRET"))
    found = client.create_clients(old, REAL_CLOCK).session.get_credentials()
    (aws_files / "credentials").write_text("[default]\naws_access_key_id = NEW\naws_secret_access_key = x\n")
    better = client.create_clients(old, REAL_CLOCK).session.get_credentials()

    assert found is not None
    assert better is not None
    assert (found.access_key, better.access_key) == ("OLD", "NEW")


# -- clients of any service

STUB = '''"""Job queues of AWS Batch."""


def names(clients):
    """Return the names of the job queues."""
    with clients.translate_errors("listing job queues"):
        return [queue["jobQueueName"] for queue in clients.service("batch").describe_job_queues()["jobQueues"]]
'''


def json_clients(answer: Callable[[], tuple[int, Any]], time: Time) -> Clients:
    """Return sequential clients of services that speak JSON; ``answer`` makes status and body of every response."""

    def respond(request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        status, body = answer()
        headers: Any = {"content-type": "application/json"}
        return AWSResponse(request.url, status, headers, RawBody(json.dumps(body)))

    boto = session("a", "b")
    boto.events.register("before-send", respond)
    return Clients(boto, region="us-west-2", clock=time.clock, sequential=True)


def test_a_service_is_added_by_a_module_of_its_own_and_its_calls_are_found_for_the_policy(tmp_path: Path) -> None:
    (tmp_path / "batch.py").write_text(STUB)
    spec = importlib.util.spec_from_file_location("batch", tmp_path / "batch.py")
    assert spec is not None
    assert spec.loader is not None
    batch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(batch)

    queues = {"jobQueues": [{"jobQueueName": "gpu"}]}
    assert batch.names(json_clients(lambda: (200, queues), Time())) == ["gpu"]
    assert callable_actions(tmp_path) == {"batch:DescribeJobQueues": "batch.py"}

    denied = {"code": "AccessDeniedException", "message": "no"}
    with pytest.raises(CloudRefused, match="listing job queues: this identity is not allowed to perform"):
        batch.names(json_clients(lambda: (403, denied), Time()))


@pytest.mark.parametrize(
    "source",
    [
        "def find(clients): return clients.service('batch').describe_job_queues()",
        "def find(clients):\n    batch = clients.service('batch', attempts=1)\n    return batch.describe_job_queues()",
        "def _batch(c): return c.service('batch')\ndef find(c): return _batch(c).get_paginator('describe_job_queues')",
        "class Queues:\n    @property\n    def _batch(self): return self.clients.service('batch')\n"
        "    def find(self): return self._batch.describe_job_queues()",
    ],
)
def test_calls_are_found_however_a_module_gets_its_client(tmp_path: Path, source: str) -> None:
    (tmp_path / "queues.py").write_text(source)

    assert callable_actions(tmp_path) == {"batch:DescribeJobQueues": "queues.py"}


def test_a_client_whose_calls_cannot_be_found_fails_the_test_of_the_policy(tmp_path: Path) -> None:
    (tmp_path / "queues.py").write_text("def find(clients): return describe(clients.service('batch'))")

    with pytest.raises(AssertionError, match="calls of this client are not read"):
        callable_actions(tmp_path)


def test_clients_are_created_once_per_service_and_timeout() -> None:
    clients = json_clients(lambda: (200, {}), Time())

    assert clients.service("batch") is clients.service("batch")
    assert clients.service("batch") is not clients.service("batch", timeout_s=4)
    assert clients.ec2 is not clients.ec2_once
    assert clients.service("pricing", region="us-east-1").meta.region_name == "us-east-1"
    assert clients.in_region("eu-west-1").service("batch").meta.region_name == "eu-west-1"


def test_sequential_clients_pause_by_the_clock_between_attempts() -> None:
    time = Time()
    busy = {"code": "TooManyRequestsException", "message": "slow down"}
    clients = json_clients(lambda: (429, busy), time)

    with pytest.raises(CloudRefused, match="AWS is throttling requests"), clients.translate_errors("listing"):
        clients.service("batch", attempts=4).describe_job_queues()
    assert time.seconds == 1 + 2 + 4


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-20T14:12:03.000Z",
        "2026-11-20T14:12:03Z",
        "2026-11-20T14:12:03+02:00",
        "20 Nov 2026 14:12:03 GMT",
        1.5e9,
    ],
)
def test_times_are_read_as_botocore_reads_them(value: Any) -> None:
    from botocore.utils import parse_timestamp

    assert client.parse_time(value) == parse_timestamp(value)
    assert client.parse_time(value).tzinfo is not None


@pytest.mark.parametrize("value", ["", "TT", "2026-13-20T14:12:03Z", "2026-11-20T25:12:03Z", None, {}])
def test_a_time_that_is_none_is_an_error(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        client.parse_time(value)
