"""Fake services of pages on VMs, of the session in fake_session: JupyterLab and TensorBoard."""

# ruff: noqa: ARG002 - the fakes have the signatures of the services.
from __future__ import annotations

from orchestrator.services.notebooks import NotebookPage, NotebookStop
from orchestrator.services.tensorboard import TensorBoardPage, TensorBoardStop
from tests.support.interface.fake_state import FakeState


class FakeNotebooks:
    """The notebook service."""

    def __init__(self, state: FakeState) -> None:
        self.state = state

    def open(self, name: str = "", kernel: str = "") -> NotebookPage:
        host = self.state.require_vms([name] if name else ())[0]
        return NotebookPage(host, "http://192.0.2.1:8888/lab?token=c0ffee", lambda: None)

    def stop(self, name: str = "") -> NotebookStop:
        return NotebookStop(self.state.require_vms([name] if name else ())[0], True)


class FakeTensorBoard:
    """The TensorBoard service."""

    def __init__(self, state: FakeState) -> None:
        self.state = state

    def open(self, logs: str, name: str = "", run_id: str = "") -> TensorBoardPage:
        host = self.state.require_vms([name] if name else ())[0]
        return TensorBoardPage(host, logs, "http://192.0.2.1:6006/", lambda: None)

    def stop(self, name: str = "") -> TensorBoardStop:
        return TensorBoardStop(self.state.require_vms([name] if name else ())[0], 1)
