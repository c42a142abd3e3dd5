"""Public Python names: what scripts may import, call and pass. A change here breaks the programs of users."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import orchestrator
from orchestrator.services.account import AccountService
from orchestrator.services.cluster import ClusterService
from orchestrator.services.dask_clusters import DaskService
from orchestrator.services.hosts import HostService
from orchestrator.services.jobs import JobService
from orchestrator.services.machines.baked_images import BakedImageService
from orchestrator.services.notebooks import NotebookService
from orchestrator.services.ssh_config import SshConfigService
from orchestrator.services.storage import StorageService
from orchestrator.services.tensorboard import TensorBoardService
from orchestrator.session import Session, default_home
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

API: dict[type, list[str]] = {
    Session: [
        "close()",
        "experiment(*, multi, count=None, plan=None, job=None, on_line, on_start)",
        "plan_experiment(count=None, job=None)",
    ],
    ClusterService: [
        "check_gpus(names=(), *, all_reduce_s=0)",
        "elsewhere()",
        "extend(hours)",
        "host_names()",
        "interrupted_launches()",
        "keep_for(launch_id, minutes)",
        "launch(plan)",
        "launch_and(plan, on_ready)",
        "plan(count=None, checks=None)",
        "plan_replacement(names)",
        "record_spot_reclaims(names)",
        "recover(*, terminate)",
        "replace(plan)",
        "same_role()",
        "set_idle_shutdown(minutes)",
        "start()",
        "status()",
        "stop()",
        "terminate(*, everywhere=False, owner='', kept=False)",
        "terminate_launch(launch_id)",
    ],
    JobService: [
        "add_hosts(run_id='')",
        "cancel(run_id='')",
        "cancel_all()",
        "check(*, multi, count, folder=None)",
        "dashboard(run_id='')",
        "fetch(run_id='')",
        "follow(run_id, *, on_line, on_hosts)",
        "history()",
        "install(names=(), *, folder=None)",
        "installer(job=None, host_count=1)",
        "load_job(folder=None, *, needs_data=True)",
        "logs(run_id='', *, host='', follow=False)",
        "not_fetched(instance_ids)",
        "note_stopped(instance_ids)",
        "record_install(installs, failed, seconds, job=None)",
        "runs()",
        "start(*, multi, folder=None, names=(), follow=False)",
        "started_in(run_ids)",
    ],
    HostService: [
        "open_tunnels()",
        "receive(remote, path, name='')",
        "run_command(command, *, names=(), timeout_s=600.0, on_line)",
        "send(path, names=(), remote='')",
        "ssh_command(name)",
        "tunnel(name, port)",
        "usage(names=())",
    ],
    BakedImageService: [
        "bake(plan, *, remove_runs=False)",
        "check(plan, *, remove_runs=False)",
        "delete(names=(), *, stale=False)",
        "list_images()",
        "plan(name='')",
    ],
    NotebookService: [
        "open(name='', kernel='')",
        "stop(name='')",
    ],
    StorageService: [
        "abort(text='')",
        "download(source, path, options=None, *, by_time=False)",
        "list(text, options=None)",
        "sync(source, target, options=None)",
        "upload(path, target, options=None, *, by_time=False)",
    ],
    TensorBoardService: [
        "open(logs, name='', run_id='')",
        "stop(name='')",
    ],
    DaskService: [
        "open(run_id='')",
    ],
    SshConfigService: [
        "install()",
        "keep()",
        "remove()",
        "write()",
    ],
    AccountService: [
        "break_even(own, use, instance_type='')",
        "cost()",
        "instance_types(requirements)",
        "refresh_access()",
        "request_quota_increase(count=None)",
        "request_sagemaker_quota_increase(name, count=None)",
        "types_exist(requirements)",
    ],
}


def parameter(value: inspect.Parameter) -> str:
    """Return a parameter as written, with its default if that is a plain value."""
    is_plain = value.default is None or isinstance(value.default, bool | int | float | str | tuple)
    return f"{value.name}={value.default!r}" if is_plain else value.name


def signature(function: Any) -> str:
    """Return name and parameters, those after ``*`` by keyword only."""
    parameters = [value for value in inspect.signature(function).parameters.values() if value.name != "self"]
    keyword_only = [value for value in parameters if value.kind is value.KEYWORD_ONLY]
    positional = [value for value in parameters if value not in keyword_only]
    texts = [*map(parameter, positional), *(["*"] if keyword_only else []), *map(parameter, keyword_only)]
    return f"{function.__name__}({', '.join(texts)})"


def public_methods(service: type) -> list[str]:
    """Return the signatures of the public methods of a class, sorted by name."""
    methods = inspect.getmembers(service, inspect.isfunction)
    return [signature(method) for name, method in methods if not name.startswith("_")]


def test_the_package_exports_its_version_and_the_hooks_of_ipython() -> None:
    assert orchestrator.__all__ == ["__version__", "load_ipython_extension", "unload_ipython_extension"]
    assert all(hasattr(orchestrator, name) for name in orchestrator.__all__)


@pytest.mark.parametrize("service", API)
def test_the_public_methods_of_a_service_are_these(service: type) -> None:
    assert public_methods(service) == API[service]


def test_a_session_is_opened_with_settings_and_folders() -> None:
    assert signature(Session.__init__) == "__init__(settings, *, home, runs, on_event, clients=None, runtime=None)"
    assert signature(default_home) == "default_home()"


def test_a_session_has_these_services(simulate: Callable[..., SimulatedProject]) -> None:
    session = simulate().session()

    services = (session.cluster, session.jobs, session.hosts, session.account)
    assert [type(service) for service in services] == [ClusterService, JobService, HostService, AccountService]
