"""Verbs on jobs: install, run, attach, logs, fetch, cancel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.core.errors import JobFailed, LeftRunning, UsageError
from orchestrator.core.next_step import NextStep, Text, as_message
from orchestrator.interface import notice
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.cluster import TERMINATE
from orchestrator.interface.verbs.follow import LogPrinter, ask_after_interrupt
from orchestrator.interface.verbs.interaction import Interrupted, interruptible, raise_if_failed, show, show_open
from orchestrator.interface.verbs.job_files import confirm_upload, offering_own_script, refuse_job_as_host
from orchestrator.interface.verbs.parameters import HostName, JobName, JobOption, RunId, VerbParameter

if TYPE_CHECKING:
    from orchestrator.hosts.tunnels import Dashboard
    from orchestrator.install.installer import InstallReport
    from orchestrator.interface.run_progress import RunProgress
    from orchestrator.interface.workspace import Workspace
    from orchestrator.jobs.elastic import JoinReport
    from orchestrator.jobs.kill import KillReport
    from orchestrator.jobs.record import PastRun, RunRecord
    from orchestrator.jobs.runner import CancelReport
    from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary

GROUP = VerbGroup("Jobs")

INTERRUPTED = 130
"""Exit code of a run that was left or canceled: the same as of Ctrl-C."""

FETCH = NextStep("FetchResults")


def outcome_exit_code(outcome: object, options: dict[str, Any]) -> int:
    """Return 0 for a run, or a tuning job, that ended well or was to be left, else the code of Ctrl-C."""
    from orchestrator.jobs.runs import RunResult

    return 0 if options.get("detach") or isinstance(outcome, RunResult | list) else INTERRUPTED


def _attached_document(outcome: object) -> object:
    return {"trials": outcome} if isinstance(outcome, list) else outcome


@GROUP.verb(
    "InstallDeps",
    "install",
    step=2,
    examples=(NextStep("InstallDeps"), NextStep("InstallDeps", "ml-1"), NextStep("InstallDeps", job="examples/other")),
    next_steps=(NextStep("RunSingleVMComputing"), NextStep("RunMultiVMComputing")),
)
def install(workspace: Workspace, *hosts: HostName, job: JobOption = "") -> InstallReport:
    """Install what the job needs; again, it only checks.

    Python and requirements, or the container; then data and code. All hosts at once, each in one round trip.

    hosts  only these (default: all that are up).
    job    another job, or a script (default: [job] run in the config file).

    Costs  nothing beyond the VMs' time.
    """
    from orchestrator.jobs.scripts import find as scripts

    refuse_job_as_host(hosts)
    session = workspace.session()
    again = NextStep("InstallDeps", *hosts, **({"job": job} if job else {}))
    source = scripts.find(job, lambda name: NextStep("InstallDeps", *hosts, job=name))
    afterwards = "The VMs continue without this computer.", again + "  shows it, and completes it"
    with offering_own_script(job), interruptible(workspace, *afterwards):
        report = session.jobs.install(hosts, folder=source)
    # The install may have given VMs a host key of their own.
    session.ssh_config.keep()
    show(workspace, report)
    fix = again + " tries again; completed steps are kept"
    raise_if_failed(report.failed, "{hosts} could not be installed", fix=fix)
    return report


@GROUP.verb(
    "RunSingleVMComputing",
    "run",
    step=3,
    exit_code=outcome_exit_code,
    examples=(NextStep("RunSingleVMComputing"), NextStep("RunSingleVMComputing", "train.py --epochs 3")),
    next_steps=(FETCH,),
)
def run_single(
    workspace: Workspace, job: JobName = "", *, host: HostName = "", detach: bool = False
) -> RunResult | RunHandle | CancelReport | None:
    """Run the job, a script or a notebook on one VM.

    It runs on the VM: neither Ctrl-C nor a lost connection stops it. Of a script, its folder is uploaded, and
    requirements.txt in it is installed. Of a notebook, the executed copy is an output; -p NAME VALUE sets a parameter.

    job     folder of a job, or a script or notebook with its arguments (default: [job] run in the config file).
    host    run on this VM (default: the first).
    detach  start it and return at once.

    Costs  nothing beyond the VM's time.
    """
    return run_job(workspace, job, multi=False, names=(host,) if host else (), detach=detach)


@GROUP.verb(
    "RunMultiVMComputing",
    "run",
    flag="--multi",
    step=4,
    exit_code=outcome_exit_code,
    examples=(NextStep("RunMultiVMComputing"), NextStep("RunMultiVMComputing", "train.py")),
    next_steps=(FETCH,),
)
def run_multi(
    workspace: Workspace, job: JobName = "", *, detach: bool = False
) -> RunResult | RunHandle | CancelReport | None:
    """Run the job, or a script, on all VMs together.

    It runs on the VMs: neither Ctrl-C nor a lost connection stops it. A script runs on every VM by itself; STRATUS_RANK
    and STRATUS_SIZE in its environment tell it its share.

    job     folder of a job, or a script with its arguments (default: [job] run in the config file).
    detach  start it and return at once.

    Costs  nothing beyond the VMs' time.
    """
    return run_job(workspace, job, multi=True, names=(), detach=detach)


def run_job(
    workspace: Workspace, job: str, *, multi: bool, names: Sequence[str], detach: bool, is_fetched: bool = False
) -> RunResult | RunHandle | CancelReport | None:
    """Start a job, and show it until its end unless it is to be left.

    :param job: folder of a job, or a script or notebook with its arguments; empty for that of the settings.
    :param names: of the hosts to use; all when empty.
    :param is_fetched: its results are fetched next, without being asked for.
    """
    from orchestrator.interface.render import runs
    from orchestrator.jobs.scripts import find as scripts

    session = workspace.session()
    source = scripts.find(job, partial(NextStep, "RunMultiVMComputing" if multi else "RunSingleVMComputing"))
    confirm_upload(workspace, source)
    # Only the start: while the run is followed, Ctrl-C has another meaning.
    afterwards = "It may have started.", NextStep("Runs") + "  lists all runs"
    with offering_own_script(job), interruptible(workspace, *afterwards):
        handle = session.jobs.start(multi=multi, folder=source, names=tuple(names), follow=not detach)
    show(workspace, handle)
    if detach:
        workspace.console.print(runs.left_running(handle.short_id))
        return handle
    # Named from the first line if several hosts will print.
    main_tasks = sum("main" in roles for roles in handle.roles.values())
    printer = LogPrinter(workspace.console, with_host=main_tasks > 1, progress=run_progress(workspace))
    return watch(workspace, handle.run_id, printer, handle, is_fetched=is_fetched)


@GROUP.verb(
    "Attach",
    "attach",
    exit_code=outcome_exit_code,
    document=_attached_document,
    examples=(NextStep("Attach", "k3"),),
    next_steps=(FETCH,),
)
def attach(workspace: Workspace, run: RunId = "") -> object:
    """Reconnect to a run and show it from its beginning.

    From any computer.

    run  its id, or the end of it (default: the newest).
    """
    if tuning_run := workspace.session().tuning_runs.find(run):
        from orchestrator.interface.verbs.sagemaker import tuning

        return tuning.attach(workspace, tuning_run)
    return watch(workspace, run, LogPrinter(workspace.console, progress=run_progress(workspace)))


def run_progress(workspace: Workspace) -> RunProgress:
    """Return the progress of a run that is watched."""
    from orchestrator.interface.run_progress import RunProgress

    return RunProgress(workspace.console, workspace.clock)


def watch(
    workspace: Workspace, run: str, printer: LogPrinter, handle: RunHandle | None = None, *, is_fetched: bool = False
) -> RunResult | RunHandle | CancelReport | None:
    """Show a run until it ends, or is left or canceled after Ctrl-C."""
    from orchestrator.interface.render import runs

    session = workspace.session()
    began = workspace.clock.monotonic()
    while True:
        try:
            with printer.showing_progress():
                result = session.runs.follow(run, on_line=printer.listener(), on_hosts=printer.expect)
        except KeyboardInterrupt:
            # Lines that arrive meanwhile would scroll the question away.
            printer.pause()
        except JobFailed as error:
            seconds = workspace.clock.monotonic() - began
            notice.give(workspace, notice.EndOfRun(error.run_id or run, error.state, seconds))
            raise _without_printed_tail(error, printer) from None
        else:
            show(workspace, result, runs.done(result) if is_fetched else None)
            notice.give(workspace, notice.EndOfRun(result.run_id, "done", workspace.clock.monotonic() - began))
            return result
        # Outside the except clause: errors of what follows would otherwise carry the Ctrl-C as their context.
        answer = ask_after_interrupt(workspace.console)
        if answer == "c":
            return cancel(workspace, run)
        if answer == "l":
            return _leave(workspace, run, handle)


def _leave(workspace: Workspace, run: str, handle: RunHandle | None) -> RunHandle | None:
    from orchestrator.interface.render import runs

    workspace.console.print(runs.left_running(handle.short_id if handle else run.rsplit("-", 1)[-1]))
    if not workspace.console.is_interactive:
        # A script must not take a run that was left for one that has ended.
        raise Interrupted
    return handle


def _without_printed_tail(error: JobFailed, printer: LogPrinter) -> JobFailed:
    """Return the error without the job's last lines when they stand right above it."""
    if len(printer.printed) != 1 or printer.console.document:
        return error
    error.tail = ()
    return error


@GROUP.verb(
    "Runs",
    "runs",
    examples=(NextStep("Runs"),),
    next_steps=(NextStep("Attach", "k3"), NextStep("Logs", "k3"), NextStep("FetchResults", "k3")),
)
def runs(workspace: Workspace) -> list[RunSummary]:
    """List the runs on the VMs.

    Each with id, state, job, start, duration and VMs. History() lists those of terminated clusters, too.
    """
    from orchestrator.interface.render import runs

    try:
        summaries = workspace.session().runs.runs()
    except UsageError as error:
        # Most likely no VM is up: the records of earlier runs are here.
        more = NextStep("History") + " lists the runs of this computer"
        error.fix = as_message(error.fix) + "\n  " + more if error.fix else more
        raise
    return show(workspace, summaries, runs.runs(summaries, workspace.clock.now()))


@GROUP.verb("History", "history", examples=(NextStep("History"),))
def history(workspace: Workspace) -> list[PastRun]:
    """List the runs that were started or fetched here.

    Those of terminated clusters, too, with cost and results, from the folder runs/. History().to_pandas() is a
    data frame with one column per metric.

    Costs  nothing; makes no call to AWS.
    """
    from orchestrator.interface.render import history

    past_runs = workspace.session(files=False).jobs.history()
    return show(workspace, past_runs, history.past_runs(past_runs, workspace.clock.now()))


Follow = Annotated[bool, VerbParameter(short="-f")]


@GROUP.verb("Logs", "logs", examples=(NextStep("Logs", "k3", host="ml-1"),))
def logs(
    workspace: Workspace, run: RunId = "", *, host: HostName = "", follow: Follow = False
) -> dict[str, list[dict[str, str]]] | None:
    """Print the log of a run so far.

    run     its id, or the end of it (default: the newest).
    host    only this host's log.
    follow  continue until the run ends.
    """
    printer = LogPrinter(workspace.console, with_host=not host)
    print_line, lines = printer.listener(), []
    try:
        output = workspace.session().runs.logs(run, host=host, follow=follow)
    except UsageError as error:
        error.fix = _logs_of_host(workspace, run) or error.fix
        raise
    for name, text in output:
        print_line(name, text)
        if workspace.console.document:
            # Kept, because a document is printed in one piece.
            lines.append({"host": name, "line": text})
    # At the prompt the lines are on the screen already.
    return {"lines": lines} if workspace.console.document else None


def _logs_of_host(workspace: Workspace, run: str) -> Text:
    """Return the way to the log of one VM, if a name of one was given for a run; else nothing."""
    first = run.replace(",", " ").split()[:1]
    is_host = first and re.fullmatch(re.escape(workspace.settings().cluster.name) + r"-\d+", first[0])
    return NextStep("Logs", host=first[0]) + "  shows the log of one VM" if is_host else ""


@GROUP.verb("JoinJob", "join", examples=(NextStep("JoinJob", "k3"),))
def join(workspace: Workspace, run: RunId = "") -> JoinReport:
    """Add new VMs to an elastic run without restarting it.

    Launch the new VMs first; what the job lacks on them is installed.

    run  its id, or the end of it (default: the newest).
    """
    again = NextStep("JoinJob", *([run] if run else []))
    with interruptible(workspace, "Some VMs may have joined.", again + "  adds the others"):
        report = workspace.session().jobs.add_hosts(run)
    show(workspace, report)
    raise_if_failed(report.failed, "{hosts} did not join", fix=again + " tries again")
    return report


@GROUP.verb("CancelJob", "cancel", examples=(NextStep("CancelJob", "k3"),))
def cancel(workspace: Workspace, run: RunId = "") -> CancelReport:
    """Cancel a run: end all its processes on all VMs.

    run  its id, or the end of it (default: the newest).
    """
    report = workspace.session().runs.cancel(run)
    show(workspace, report)
    again = NextStep("CancelJob", report.run_id) + " tries again"
    problem = "{hosts} has not ended, and is billed" if report.kind else "{hosts} could not be reached to cancel"
    raise_if_failed(report.failed, problem, fix=again)
    # A killed process that remains usually hangs in a system call that no signal interrupts.
    remaining = [f"{host}: {count} process{'es' * (count != 1)}" for host, count in report.left.items() if count]
    if remaining:
        fix = TERMINATE + " terminates the VMs"
        raise LeftRunning(f"{report.run_id}: some processes could not be killed", left=remaining, fix=fix)
    return report


@GROUP.verb(
    "CancelAllJobs",
    "cancel-all",
    aliases=("KillAll",),
    command_aliases=("killall",),
    examples=(NextStep("CancelAllJobs"),),
    next_steps=(NextStep("RunSingleVMComputing"), TERMINATE),
)
def cancel_all(workspace: Workspace) -> KillReport:
    """Cancel every run on every VM; the VMs stay up.

    Also runs that other shells or computers started. A process that a job starts without its environment (env -i) is
    not found; it ends with the VM.
    """
    session = workspace.session()
    again = NextStep("CancelAllJobs")
    with interruptible(workspace, "Some may still run.", again + "  cancels the rest"):
        report = session.jobs.cancel_all()
    show(workspace, report)
    # A host that could not be asked may still run everything it ran.
    left = [f"{host.host}: {item}" for host in report.hosts if host.left for item in host.stuck or (str(host.left),)]
    left += [f"{name}: unknown, {str(error).splitlines()[0]}" for name, error in report.failed.items()]
    if left:
        fix = again + " tries again; " + TERMINATE + " terminates the VMs"
        raise LeftRunning("Not everything was canceled:", left=left, fix=fix)
    return report


@GROUP.verb("FetchResults", "fetch", step=5, examples=(FETCH,), next_steps=(TERMINATE + ", when no more is to run",))
def fetch(workspace: Workspace, run: RunId = "") -> RunRecord:
    """Fetch outputs, logs and record of a run to runs/<id>/.

    run  its id, or the end of it (default: the newest).
    """
    with interruptible(workspace, "Nothing is lost.", FETCH + "  starts over"):
        record = workspace.session().runs.fetch(run)
    show(workspace, record)
    # After the results: what arrived is kept and recorded.
    raise_if_failed(record.failed, "not everything was received from {hosts}", fix=FETCH + " retries")
    return record


@GROUP.verb("Dashboard", "dashboard", stays_open=True, examples=(NextStep("Dashboard"),))
def dashboard(workspace: Workspace, run: RunId = "") -> Dashboard:
    """Open a tunnel to a run's Dask dashboard.

    It stays open until you exit the shell; as a command, until Ctrl-C.

    run  its id, or the end of it (default: the newest).
    """
    return show_open(workspace, workspace.session().jobs.dashboard(run))
