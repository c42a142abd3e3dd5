"""Verbs on the cluster: launch, status, stop, start, terminate, recover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from orchestrator.core.errors import LeftRunning, StratusError, UsageError
from orchestrator.core.next_step import NextStep, Text, join
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.interaction import (
    check_vm_count,
    confirm_launch,
    interruptible,
    raise_if_failed,
    show,
    show_plan,
)
from orchestrator.interface.verbs.parameters import Consent, VerbParameter, VmCount

if TYPE_CHECKING:
    from orchestrator.aws.ec2.state_changes import InstanceResult
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.launcher import LaunchReport
    from orchestrator.cluster.recovery import RecoverReport
    from orchestrator.cluster.status import ClusterStatus
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.interface.workspace import Workspace

GROUP = VerbGroup("Cluster")

STATUS, TERMINATE = NextStep("Status"), NextStep("TerminateAll")
SHOWS_OR_TERMINATES = STATUS + " shows them; " + TERMINATE + " terminates them"
TRIES_AGAIN = TERMINATE + " tries again"


@GROUP.verb(
    "LaunchInstances",
    "launch",
    step=1,
    changes_cluster=True,
    examples=(NextStep("LaunchInstances", 2),),
    next_steps=(NextStep("InstallDeps"),),
)
def launch(workspace: Workspace, n: VmCount = None, *, yes: Consent = False) -> LaunchReport:
    """Launch VMs: show plan and price, ask, wait for SSH.

    New VMs join those that are up already.

    n    how many VMs (default: [cluster] count).
    yes  do not ask for confirmation.

    Costs  the price shown, until terminated; VMs shut down automatically after [cluster] max_hours.
    """
    from orchestrator.interface.render import launch

    session = workspace.session()
    plan = session.cluster.plan(check_vm_count(n))
    show_plan(workspace, plan)
    without_asking = NextStep("LaunchInstances", *([] if n is None else [n]), yes=True)
    confirm_launch(workspace, plan, "Launch?", yes=yes, without_asking=without_asking)
    # Only from here on: until the plan is confirmed nothing is billed that Ctrl-C could leave behind.
    with interruptible(workspace, "VMs may be up.", STATUS + "  lists them", TERMINATE + "  terminates them"):
        report = session.cluster.launch(plan)
    show(workspace, report, launch.launched(report, _after_launch(plan)))
    _show_editor_links(workspace, plan, report)
    # After the report: the hosts that are up cost money, whatever the others do.
    raise_if_failed(report.failed, "{hosts} did not come up", fix=SHOWS_OR_TERMINATES)
    return report


def _after_launch(plan: LaunchPlan) -> Text:
    """Return what to type after a launch: an install only if the job of the config file can be installed."""
    from orchestrator.interface.verbs.job_files import own_script_step

    return NextStep("InstallDeps") if plan.is_job_ready else own_script_step()


def _show_editor_links(workspace: Workspace, plan: LaunchPlan, report: LaunchReport) -> None:
    """Print links that open the new VMs in the editor of the settings, if they name one."""
    editor = workspace.settings().ssh.editor
    if not editor or not report.ready:
        return
    from orchestrator.interface.render import ssh_config

    workspace.console.print(ssh_config.links([(host.name, plan.user) for host in report.ready], editor))
    if not workspace.session().ssh_config.is_installed:
        workspace.console.print("  " + NextStep("SshConfig", install=True) + " makes the links work.")


@GROUP.verb("Status", "status", aliases=("CheckStatus",), examples=(STATUS,))
def status(workspace: Workspace) -> ClusterStatus:
    """Show every VM: state, address, price, shutdown time.

    Tunnels to them that this computer has open are listed, too.

    Costs  nothing.
    """
    # Works from the tags alone, as terminating does.
    session = workspace.session(files=False, only_ending=True)
    current = session.cluster.status()
    names = [instance.name for instance in current.up]
    tunnels = tuple(tunnel for tunnel in session.hosts.open_tunnels() if tunnel.host in names)
    return show(workspace, replace(current, tunnels=tunnels))


OwnerName = Annotated[str, VerbParameter(metavar="ID")]


@GROUP.verb("TerminateAll", "terminate", step=6, changes_cluster=True, examples=(TERMINATE,))
def terminate(
    workspace: Workspace,
    *,
    everywhere: bool = False,
    owner: OwnerName = "",
    kept: bool = False,
    yes: Consent = False,
) -> TerminateReport:
    """Terminate all VMs of this cluster that are yours.

    Its security group and key pair are deleted as well, and what SageMaker runs for it. Never asks. Works from any
    computer, because it finds them by their tags. Fetch results first: what is on the VMs is deleted.

    everywhere  also what this computer launched under other settings: cluster name, owner, region.
    owner       instead of yours those of another owner of this cluster, by the owner id or ARN that Status() shows.
    kept        also what is kept on purpose and billed, such as volumes with data.
    yes         no effect: terminating never asks.
    """
    del yes
    if everywhere and owner:
        raise UsageError("everywhere and owner exclude each other", fix=NextStep("TerminateAll", owner=owner))
    # Terminating must work when a key file or the job's folder is missing.
    session = workspace.session(files=False, only_ending=True)
    with interruptible(workspace, "Some may still be up.", TERMINATE + "  terminates the rest"):
        report = session.cluster.terminate(everywhere=everywhere, owner=owner, kept=kept)
    not_fetched = session.jobs.not_fetched(report.terminated_ids)
    report = replace(report, not_fetched=not_fetched, started_in=session.jobs.started_in(not_fetched))
    show(workspace, report)
    if report.remaining:
        raise LeftRunning("Still there:", left=report.remaining, fix=_how_to_terminate(report, owner))
    return report


def _how_to_terminate(report: TerminateReport, owner: str) -> Text:
    """Return what to type after an incomplete TerminateAll."""
    fixes: list[Text] = []
    if report.elsewhere or report.managed.has_elsewhere:
        again = NextStep("TerminateAll", everywhere=True)
        fixes.append(again + " terminates what other settings launched")
    if report.may_be_own and report.same_role:
        from orchestrator.interface.render import cluster

        fixes += cluster.how_to_end_same_role(report.same_role)
    if not fixes:
        fixes.append(NextStep("TerminateAll", owner=owner) + " tries again" if owner else TRIES_AGAIN)
    return join("\n", fixes)


@GROUP.verb(
    "StopAll", "stop", changes_cluster=True, examples=(NextStep("StopAll"),), next_steps=(NextStep("StartAll"),)
)
def stop(workspace: Workspace) -> Sequence[InstanceResult]:
    """Stop all VMs; their disks stay and are billed.

    Runs end with it; what they have written stays on the disks.

    Costs  the disks: a stopped VM itself costs nothing.
    """
    session = workspace.session(files=False, only_ending=True)
    with interruptible(workspace, "Some may have changed.", STATUS + "  shows which"):
        results = session.cluster.stop()
    stopped = [result.id for result in results if result.state in ("stopping", "stopped")]
    if ended := session.jobs.note_stopped(stopped):
        from orchestrator.interface.render import cluster

        workspace.console.print(cluster.ended_by_stop(ended, session.jobs.started_in(ended)))
    return _show_instances(workspace, results, "was not stopped")


@GROUP.verb("StartAll", "start", changes_cluster=True, examples=(NextStep("StartAll"),))
def start(workspace: Workspace) -> Sequence[InstanceResult]:
    """Start stopped VMs and wait for SSH.

    Their automatic shutdown is set anew: the max_hours of their launch from now, or the end that Extend() has set if
    that is later, as far as max_dollars allows.

    Costs  as before they were stopped.
    """
    session = workspace.session()
    with interruptible(workspace, "Some may have changed.", STATUS + "  shows which"):
        results = session.cluster.start()
    return _show_instances(workspace, results, "was not started")


def _show_instances(workspace: Workspace, results: Sequence[InstanceResult], what: str) -> Sequence[InstanceResult]:
    from orchestrator.interface.render import cluster

    show(workspace, results, cluster.instances(results, workspace.clock.now()))
    failed = [result.name for result in results if result.error]
    if failed:
        raise StratusError(f"{' '.join(failed)} {what}", fix=STATUS + " shows the state of each")
    return results


Choice = Annotated[str, VerbParameter(metavar="{finish,terminate}", positional=True, choices=("finish", "terminate"))]


@GROUP.verb("Recover", "recover", changes_cluster=True, examples=(NextStep("Recover", "terminate"),))
def recover(workspace: Workspace, then: Choice = "") -> RecoverReport:
    """Finish or terminate launches that were interrupted.

    then  finish: wait until their VMs answer SSH; terminate: terminate them (default: list them).

    Costs  nothing more; the VMs that are listed cost until they are terminated.
    """
    # Checked again here: argparse knows the choices, a call at the prompt does not.
    if then not in ("", "finish", "terminate"):
        fix = NextStep("Recover", "finish") + " or " + NextStep("Recover", "terminate")
        raise UsageError(f"{then!r} is neither finish nor terminate", fix=fix)
    report = _recover(workspace, then)
    show(workspace, report)
    if report.remaining:
        raise LeftRunning("Still there:", left=report.remaining, fix=TRIES_AGAIN)
    raise_if_failed(report.failed, "{hosts} did not come up", fix=SHOWS_OR_TERMINATES)
    return report


def _recover(workspace: Workspace, then: str) -> RecoverReport:
    from orchestrator.cluster.recovery import RecoverReport

    # Both work from the journal and the tags.
    session = workspace.session(files=False, only_ending=then != "finish")
    if not then:
        interrupted, elsewhere = session.cluster.interrupted_launches(), session.cluster.elsewhere()
        return RecoverReport(interrupted, elsewhere=elsewhere, same_role=session.cluster.same_role())
    with interruptible(workspace, NextStep("Recover") + " lists what is left."):
        return session.cluster.recover(terminate=then == "terminate")
