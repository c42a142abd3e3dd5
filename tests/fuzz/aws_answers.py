"""A whole life of a cluster while AWS's answers lack fields, or have other values in them."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hypothesis import strategies as st

from localcloud.core.clock import VirtualClock
from localcloud.scenarios.scenario import Scenario, make_fault
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.aws.capacity.offerings import Requirements
from orchestrator.core.errors import StratusError
from orchestrator.session import Session
from tests.support.simulated_project import SimulatedProject

CALLS = ("always", "at call 1", "at call 2", "from call 2")
VALUES = ("", "x", "-1", "0", "null", "[]", "{}", "true", "9" * 30, "i-00000000000000000", "2026-11-20T14:12:03Z")


@dataclass(frozen=True)
class AlteredAnswer:
    """One field of the answers to one action.

    :param value: its other value; empty: the field is left out.
    :param calls: which of the calls, as scenarios write it.
    """

    action: str
    field: str
    value: str
    calls: str


def _verbs() -> list[Callable[[Session], object]]:
    return [
        lambda session: session.cluster.launch(session.cluster.plan(2)),
        lambda session: session.cluster.status(),
        lambda session: session.account.cost(),
        lambda session: session.cluster.stop(),
        lambda session: session.cluster.start(),
        lambda session: session.cluster.extend(1.0),
        lambda session: session.account.instance_types(Requirements(vcpus=4)),
        lambda session: session.account.request_quota_increase(8),
        lambda session: session.account.refresh_access(),
        lambda session: session.cluster.set_idle_shutdown(30),
        lambda session: session.cluster.elsewhere(),
        lambda session: session.cluster.interrupted_launches(),
        lambda session: session.cluster.terminate(),
    ]


def _live(project: SimulatedProject) -> None:
    """Carry out every verb, those after a failed one included."""
    with contextlib.closing(project.session()) as session:
        for verb in _verbs():
            with contextlib.suppress(StratusError):
                verb(session)


def check(answer: AlteredAnswer) -> None:
    """Whatever AWS answers, a verb ends with its answer or with one error, and later all instances can be ended."""
    fault = make_fault("altered", action=answer.action, field=answer.field, value=answer.value, when=answer.calls)
    with (
        tempfile.TemporaryDirectory() as folder,
        InMemoryCloud(7, Scenario(7, (fault,)), VirtualClock()) as cloud,
    ):
        project = SimulatedProject(cloud, Path(folder))
        _live(project)
        cloud.play(Scenario())
        with contextlib.closing(project.session()) as session:
            session.cluster.terminate()
        assert not project.our_states


@dataclass
class _RecordingCloud:
    """A cloud that notes the names of all fields in its answers."""

    cloud: InMemoryCloud
    fields: set[tuple[str, str]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cloud, name)

    def session(self, *keys: Any) -> Any:
        session = self.cloud.session(*keys)

        def note(http_response: Any, model: Any, **_: Any) -> None:
            self.fields |= {(model.name, name) for name in _names(http_response.content)}

        session.events.register("after-call", note)
        return session


def _names(body: bytes) -> set[str]:
    if body.lstrip().startswith(b"<"):
        return {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(body).iter()}
    names: set[str] = set()
    with contextlib.suppress(ValueError):
        # The hook sees every object.
        json.loads(body, object_hook=names.update)
    return names


@cache
def answer_fields() -> tuple[tuple[str, str], ...]:
    """Return action and name of every field that AWS sends in such a life."""
    with tempfile.TemporaryDirectory() as folder, InMemoryCloud(7, Scenario(), VirtualClock()) as cloud:
        recording: Any = _RecordingCloud(cloud, set())
        _live(SimulatedProject(recording, Path(folder)))
        return tuple(sorted(recording.fields))


ANSWERS = st.deferred(
    lambda: st.builds(
        lambda field, value, calls: AlteredAnswer(field[0], field[1], value, calls),
        st.sampled_from(answer_fields()),
        st.sampled_from(VALUES),
        st.sampled_from(CALLS),
    )
)
