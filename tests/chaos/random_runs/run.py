"""Execute one random run: the verbs of its plan against a simulated cloud, with its faults, checked by invariants."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.simulation.cloud import ClientCrash, InMemoryCloud
from orchestrator.aws import owner_id
from orchestrator.core.errors import LeftRunning, StratusError
from orchestrator.core.next_step import advice_of
from tests.chaos import invariants
from tests.chaos.random_runs import callers, listings
from tests.chaos.random_runs.circumstances import EDITS, damage_home, repair_home
from tests.chaos.random_runs.plan import RunPlan, Step, generate
from tests.chaos.random_runs.result import RunResult, UserLeft, summarize
from tests.chaos.shutdown_timers import ShutdownTimers
from tests.chaos.virtual_computer import SCRATCH, VirtualComputer

if TYPE_CHECKING:
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.session import Session

LONGEST_S = {
    "plan": 900.0,
    "launch": 3600.0,
    "status": 900.0,
    "stop": 1800.0,
    "start": 1800.0,
    "terminate": 1800.0,
    "terminate everywhere": 3600.0,
}
"""Limits on each verb in virtual time: the sum of its deadlines, with all retries."""

CONFIG = "[cluster]\nname = ml\n{rest}\n[aws]\nregion = us-west-2\nssh_from = 203.0.113.7/32\n"
_HOSTS_STUCK = 4  # the most that one fault may keep pending
QUIET_S = 3600.0  # every fault is over by then
GRACE_S = 900.0  # boot, shutdown, and the minutes that the shutdown timer rounds up


def run(seed: int) -> RunResult:
    """Execute the run of a seed; the same seed gives the same trace in every process."""
    _warm_up()
    return _execute_run(seed)


@cache
def _warm_up() -> None:
    """Execute run 0 once per process: loading moto draws from the random numbers that ids come from, too."""
    _execute_run(0)


def _execute_run(seed: int) -> RunResult:
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=SCRATCH))
    try:
        timers = ShutdownTimers()
        with InMemoryCloud(seed, read_shutdown=timers.at_boot) as cloud:
            return _RandomRun(generate(seed), cloud, folder, timers).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _RandomRun:
    """One run while it is executed."""

    plan: RunPlan
    cloud: InMemoryCloud
    folder: Path
    timers: ShutdownTimers
    trace: list[str] = field(default_factory=list)
    call_counts: dict[str, int] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    longest_s: dict[str, float] = field(default_factory=dict)
    armed: bool = True
    interruptions: int = 0
    homes: int = 0
    stop_requested: bool = False
    is_damaged: bool = False
    max_hours: float = 0.0
    launch_id: str = "-"
    report: TerminateReport | None = None

    def __post_init__(self) -> None:
        rest = "\n".join(f"{name} = {value}" for name, value in self.plan.config)
        circumstances = self.plan.circumstances
        group_id = invariants.default_group_id() if circumstances.named_group else ""
        named = f"security_group_id = {group_id}\n" if group_id else ""
        set_id = f"owner_id = {self.plan.caller.owner_id}\n" if self.plan.caller.owner_id else ""
        self.configs = [CONFIG.format(rest=set_id + rest) + named]
        config = self.folder / "config.ini"
        config.write_text(self.configs[0])
        self.monitor = invariants.InvariantMonitor(self.cloud, named_group_id=group_id)
        self.computer = VirtualComputer(
            self.cloud,
            self.folder / "home-0",
            config,
            random.Random(f"computer/{self.plan.seed}"),
            on_request=self.monitor.check_request,
            timers=self.timers,
            lie=circumstances.lie,
            credentials=callers.credentials(self.cloud, self.plan.caller),
        )
        self.other_computer = replace(self.computer, home=self.folder / "home-other")
        self.is_other = False
        self.monitor.set_home(self.computer.home)
        stuck = [fault for fault in self.plan.faults if fault.kind == "stuck-pending"]
        self.monitor.pending_s = sum(_HOSTS_STUCK * float(fault["seconds"] or 0) for fault in stuck)

    def run(self) -> RunResult:
        """Execute the plan, wait for the shutdown timers if the user is gone, then clean up."""
        self.cloud.play(self.plan.scenario)
        self.trace += self.plan.describe()
        foreign = invariants.resources(self.cloud, ours=False)
        self.monitor.foreign_ids = invariants.identifiers(foreign)
        self.cloud.on_call_boundary = self._boundary
        self._run_steps()
        self.armed = False
        if not self.plan.user_returns:
            self._wait_for_shutdown()
        self._clean_up()
        self.cloud.on_call_boundary = lambda *_: None
        self.over_usd = self.monitor.check_caps()
        if invariants.resources(self.cloud, ours=False) != foreign:
            self.monitor.report("a resource of another owner was changed")
        return self._result()

    # -- verbs

    def _run_steps(self) -> None:
        session = self.computer.session()
        for index, step in enumerate(self.plan.steps):
            try:
                session = self._run_step(self._change_circumstances(index) or session, step)
            except UserLeft:
                return

    def _change_circumstances(self, index: int) -> Session | None:
        """Let happen what happens before a step; return a new session if the step needs one."""
        circumstances, before = self.plan.circumstances, (len(self.configs), self.is_damaged, self.is_other)
        if circumstances.edit and index == circumstances.edit_before:
            self._edit(*EDITS[circumstances.edit])
        if self.plan.caller.moved_before and index == self.plan.caller.moved_before:
            self._enter_owner_id(owner_id.read(self.folder / "home-0").value)
        if circumstances.damage and index == circumstances.damage_before:
            damage_home(self.computer.home, circumstances.damage)
            self.is_damaged = True
        if (index in circumstances.other_computer) != self.is_other:
            self.computer, self.other_computer = self.other_computer, self.computer
            self.is_other = not self.is_other
        if before == (len(self.configs), self.is_damaged, self.is_other):
            return None
        self.monitor.set_home(self.computer.home)
        return self.computer.session()

    def _edit(self, before: str, after: str) -> None:
        self.configs.insert(0, self.configs[0].replace(before, after))
        self.computer.config.write_text(self.configs[0])

    def _enter_owner_id(self, value: str) -> None:
        if value and f"owner_id = {value}\n" not in self.configs[0]:
            self._edit("[cluster]\n", f"[cluster]\nowner_id = {value}\n")

    def _run_step(self, session: Session, step: Step) -> Session:
        """Execute a step; after a crash start a new session, and repeat the step in it unless it was a launch."""
        crash = self._execute(session, step)
        if crash is None:
            return session
        if not self.plan.user_returns:
            raise UserLeft
        self._continue_after(crash)
        new_session = self.computer.session()
        if step.verb != "launch":
            self._execute(new_session, step)
        return new_session

    def _continue_after(self, crash: ClientCrash) -> None:
        self.computer = crash.args[0]
        self.monitor.set_home(self.computer.home)

    def _execute(self, session: Session, step: Step) -> ClientCrash | None:
        """Execute a step and record its outcome; return the crash that ended it, if one did."""
        self.trace.append(f"{self._now():.2f} {step.verb} {step.count or ''}".rstrip())
        start, crash = self.cloud.clock.now(), None
        code, message = 0, ""
        try:
            code, message = _VERBS[step.verb](self, session, step)
        except StratusError as error:
            code, message = error.exit_code, str(error)
            self._check_listing(error)
        except KeyboardInterrupt as interrupt:
            code, message = 130, "\n".join([str(interrupt), *map(str, advice_of(interrupt))])
        except ClientCrash as error:
            code, message, crash = 137, "crash", error
        except Exception as error:
            code, message = 1, "".join(traceback.format_exception(error))
            self.monitor.report(f"{step.verb}: a bug: {error!r}")
        self._record(step, code, message, self.cloud.clock.now() - start)
        if step.verb == "launch" and code in (3, 4, 130):
            self._check_failed_launch(message)
        return crash

    def _check_failed_launch(self, message: str) -> None:
        """Check that a launch that failed or was interrupted lists the instances it left, or itself."""
        unlisted = [
            instance.id
            for instance in invariants.our_instances(self.cloud)
            if instance.tags.get(invariants.TAG_RUN) == self.launch_id
            and instance.state in invariants.ACTIVE
            and instance.id not in message
        ]
        if unlisted and (self.launch_id not in message or "was rolled back" in message):
            self.monitor.report(f"failed launch {self.launch_id} left {', '.join(unlisted)} and does not list it")

    def _record(self, step: Step, code: int, message: str, seconds: float) -> None:
        self.exit_codes.append(code)
        self.longest_s[step.verb] = max(self.longest_s.get(step.verb, 0.0), seconds)
        if seconds > LONGEST_S[step.verb]:
            self.monitor.report(f"{step.verb} took {seconds:.0f} s of virtual time")
        self.trace.append(f"{self._now():.2f} {step.verb} ended: {code} after {seconds:.2f} s")
        self.trace += [f"  | {line}" for line in message.replace(str(self.folder), "").splitlines()]
        self.monitor.check()

    def _check_listing(self, error: StratusError) -> None:
        if isinstance(error, LeftRunning) and not error.left:
            self.monitor.report("exit 4 without a list")

    def _launch(self, session: Session, step: Step) -> tuple[int, str]:
        self.launch_id = "-"
        plan = session.cluster.plan(step.count)
        self.launch_id = plan.launch_id
        self.monitor.max_instances[plan.launch_id] = plan.count
        self.monitor.caps_usd[plan.launch_id] = plan.max_dollars
        self.max_hours = max(self.max_hours, plan.hours)
        report = session.cluster.launch(plan)
        lines = [f"ready {' '.join(host.name for host in report.ready)}"]
        lines += [f"failed {name}: {str(error).splitlines()[0]}" for name, error in report.failed.items()]
        return int(bool(report.failed)), "\n".join(lines)

    def _status(self, session: Session, _: Step) -> tuple[int, str]:
        status = session.cluster.status()
        for violation in listings.unlisted_by_status(self.cloud, session, status):
            self.monitor.report(violation)
        return 0, " ".join(f"{instance.name}={instance.state}" for instance in status.instances)

    def _stop(self, session: Session, _: Step) -> tuple[int, str]:
        self.stop_requested = True
        return summarize(session.cluster.stop())

    def _start(self, session: Session, _: Step) -> tuple[int, str]:
        return summarize(session.cluster.start())

    def _terminate(self, session: Session, step: Step) -> tuple[int, str]:
        launches = {item.id: item.tags.get(invariants.TAG_RUN, "-") for item in invariants.our_instances(self.cloud)}
        report = session.cluster.terminate(everywhere=step.verb.endswith("everywhere"), owner=step.owner)
        self.report = report
        if not step.owner:
            self._check_termination(session, report)
        # Of a cluster that the settings no longer name, lookups omit the instances that ended before.
        if report.instances and not report.remaining and len(self.configs) == 1 and not step.owner:
            self.monitor.check_receipt({launches.get(result.id, "-") for result in report.instances}, report.spent)
        code, message = summarize(report.instances)
        same_role = [f"of the same role: {other.summary}" for other in report.same_role]
        return 4 if report.remaining else code, "\n".join([message, *map(str, report.remaining), *same_role])

    def _check_termination(self, session: Session, report: TerminateReport) -> None:
        journal = self.monitor.journal_bytes
        for violation in listings.unlisted_by_terminate(self.cloud, session, report, journal):
            self.monitor.report(violation)

    # -- the end

    def _wait_for_shutdown(self) -> None:
        """Let max_hours pass: by then every instance must have shut down by its own timer."""
        self.cloud.clock.sleep(self.max_hours * 3600 + GRACE_S)
        self.monitor.check()
        left = [
            f"{instance.id} {instance.state}"
            for instance in invariants.our_instances(self.cloud)
            if not (instance.state == "stopped" and self.stop_requested)
        ]
        if left:
            self.monitor.report(f"left alone, and after {self.max_hours:g} h there is {', '.join(left)}")

    def _clean_up(self) -> None:
        """Terminate everything, with the settings as they are and as they were before an edit."""
        for config in self.configs:
            self.computer.config.write_text(config)
            self._terminate_everything()
        self._terminate_other_ids()
        ours = invariants.our_instances(self.cloud)
        self.left = [instance for instance in ours if not invariants.protected(instance.id)]
        for instance in self.left:
            self.monitor.report(f"an orphan: {instance.id}, {instance.state}")
        if not ours:
            remains = invariants.resources(self.cloud, ours=True)
            for name in (*remains.groups, *remains.keys):
                self.monitor.report(f"left behind: {name}")

    def _terminate_everything(self) -> None:
        """Terminate everything in a new session, once more when all faults are over if that failed."""
        self._execute_in_new_session("terminate everywhere")
        if self.exit_codes[-1] or invariants.our_instances(self.cloud):
            self.cloud.clock.sleep(QUIET_S)
            if self.is_damaged:
                repair_home(self.computer.home)
                self.monitor.set_home(self.computer.home)
            self._execute_in_new_session("terminate everywhere")
        if self.report is not None and listings.cannot_tell(self.report):
            return
        has_protected = any(invariants.protected(item.id) for item in invariants.our_instances(self.cloud))
        if self.exit_codes[-1] not in ((0, 4) if has_protected else (0,)):
            self.monitor.report(f"TerminateAll without faults: exit {self.exit_codes[-1]}")

    def _terminate_other_ids(self) -> None:
        """Terminate what the user launched under owner ids that this computer does not have."""
        if self.plan.caller.by_name:
            self.computer.config.write_text(self.configs[-1])
            for value in sorted(listings.owner_ids_in_cluster(self.cloud)):
                self._execute_in_new_session("terminate", value)
                if self.exit_codes[-1] == 2:
                    self.monitor.report(f"TerminateAll does not find the VMs of owner id {value}")
        for value in sorted(invariants.resources(self.cloud, ours=True).owner_ids):
            for config in self.configs:
                lines = [line for line in config.splitlines() if not line.startswith("owner")]
                self.computer.config.write_text("\n".join(lines).replace("[cluster]", f"[cluster]\nowner_id = {value}"))
                self._terminate_everything()

    def _execute_in_new_session(self, verb: str, owner: str = "") -> None:
        if self._execute(self.computer.session(), Step(verb, owner=owner)) is not None:
            raise AssertionError("a crash, although interruptions are disarmed")

    # -- interruptions

    def _boundary(self, phase: str, action: str, _: int) -> None:
        self.monitor.check()
        if phase == "before":
            self.call_counts[action] = self.call_counts.get(action, 0) + 1
            self.call_counts[""] = self.call_counts.get("", 0) + 1
        self.trace.append(f"{self._now():.2f} {phase} {action}")
        for blow in self.plan.interruptions if self.armed else ():
            if (blow.phase, blow.number) == (phase, self.call_counts.get(blow.action, 0)) and blow.action in (
                "",
                action,
            ):
                self._interrupt(blow.kind)

    def _interrupt(self, kind: str) -> None:
        self.interruptions += 1
        self.trace.append(f"{self._now():.2f} {kind}")
        if kind.startswith("ctrl-c"):
            signal.raise_signal(signal.SIGINT)
            if kind.endswith("twice"):
                signal.raise_signal(signal.SIGINT)
            return
        self.homes += 1
        raise ClientCrash(self.computer.after_crash(self.folder / f"home-{self.homes}", empty=kind == "moves"))

    def _now(self) -> float:
        return self.cloud.clock.now()

    def _result(self) -> RunResult:
        self.trace += [f"{call.time:.2f} {call.action} -> {call.outcome}" for call in self.cloud.calls]
        self.trace += [f"VIOLATION {violation}" for violation in self.monitor.violations]
        stopped = sum(instance.state == "stopped" for instance in invariants.our_instances(self.cloud))
        return RunResult(
            self.plan.seed,
            self.monitor.violations,
            self.trace,
            len(self.cloud.calls),
            self.monitor.most_instances,
            len(self.left),
            stopped,
            self.interruptions,
            self.exit_codes,
            self.longest_s,
            left_alone=not self.plan.user_returns,
            billed_usd=self.monitor.billed_usd,
            over_usd=self.over_usd,
            receipts=self.monitor.receipts,
        )


_VERBS: dict[str, Callable[[_RandomRun, Session, Step], tuple[int, str]]] = {
    "launch": _RandomRun._launch,
    "status": _RandomRun._status,
    "stop": _RandomRun._stop,
    "start": _RandomRun._start,
    "terminate": _RandomRun._terminate,
    "terminate everywhere": _RandomRun._terminate,
}
