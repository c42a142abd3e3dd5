"""Carrying out what was typed: one function per verb of the command line, each a thin coat over a verb of the shell."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.core.errors import UsageError
from orchestrator.core.version import __version__

if TYPE_CHECKING:
    from orchestrator.interface.cli.invocation import Invocation

INTERRUPTED = 130

Command = Callable[["Invocation", Namespace], "int | None"]


def _plain(verb: str) -> Callable[[Invocation, Namespace], None]:
    """Return what carries out a verb that takes nothing."""

    def carry_out(run: Invocation, options: Namespace) -> None:
        run.document(getattr(run.work(options), verb)())

    return carry_out


def _on_run(verb: str) -> Callable[[Invocation, Namespace], None]:
    """Return what carries out a verb that takes a run."""

    def carry_out(run: Invocation, options: Namespace) -> None:
        run.document(getattr(run.work(options), verb)(options.run))

    return carry_out


def _launch(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).launch(options.n, yes=options.yes))


def _experiment(run: Invocation, options: Namespace) -> None:
    record, ended = run.work(options).experiment(options.multi, options.n, yes=options.yes)
    run.document({"run": record, "terminated": ended})


def _install(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).install(*options.hosts))


def _run(run: Invocation, options: Namespace) -> int:
    verbs = run.work(options)
    if options.multi:
        if options.host:
            raise UsageError("--host names one VM, --multi takes all", fix="leave one of them out")
        outcome = verbs.run_multi(options.job, detach=options.detach)
    else:
        outcome = verbs.run_single(options.job, host=options.host, detach=options.detach)
    run.document(outcome)
    return 0 if options.detach else _ended(outcome)


def _attach(run: Invocation, options: Namespace) -> int:
    outcome = run.work(options).attach(options.run)
    run.document(outcome)
    return _ended(outcome)


def _ended(outcome: object) -> int:
    from orchestrator.jobs.runs import RunResult

    return 0 if isinstance(outcome, RunResult) else INTERRUPTED


def _logs(run: Invocation, options: Namespace) -> None:
    verbs = run.work(options)
    if not run.console.document:
        return verbs.logs(options.run, host=options.host, follow=options.follow)
    lines = verbs.desk.session().jobs.logs(options.run, host=options.host, follow=options.follow)
    run.document({"lines": [{"host": host, "line": line} for host, line in lines]})


def _extend(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).extend(options.hours))


def _recover(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).recover(options.then or ""))


def _idle(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).idle_shutdown(options.minutes))


def _instances(run: Invocation, options: Namespace) -> None:
    found = run.work(options).instances(options.gpus, vcpus=options.vcpus, memory=options.memory)
    run.document({"instance_types": found})


def _quota(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).request_limit_increase(options.n))


def _ssh(run: Invocation, options: Namespace) -> int:
    return run.work(options).ssh(options.host, *_words(options))


def _gpus(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).gpus(*options.hosts))


def _exec(run: Invocation, options: Namespace) -> None:
    run.document(run.work(options).run_everywhere(*_words(options), host=options.host, timeout=options.timeout))


def _words(options: Namespace) -> list[str]:
    words: list[str] = options.command
    return words[1:] if words[:1] == ["--"] else words


def _dashboard(run: Invocation, options: Namespace) -> None:
    import threading

    run.document({"url": run.work(options).dashboard(options.run).url})
    try:
        # Waiting for Ctrl-C; the timeout only lets Python notice it everywhere.
        while not threading.Event().wait(3600):
            pass
    except KeyboardInterrupt:
        run.console.say("  closed")


def _config(run: Invocation, options: Namespace) -> None:
    from orchestrator.interface.verbs import config

    # What a config says may depend on the cloud that it is for; a fresh one does not.
    on_paper = options.what not in ("check", "show")
    config.carry_out(options.what, run.work(options, on_paper=on_paper).desk, run.document)


def _completion(run: Invocation, options: Namespace) -> None:
    from orchestrator.interface.cli import completion, parser

    run.console.write(completion.script(options.shell, parser.parser()))


def _shell(run: Invocation, options: Namespace) -> int:
    from orchestrator.interface.shell import app

    scripted = options.statements is not None or not sys.stdin.isatty()
    verbs = run.work(options, consent=scripted)
    run.console.reword = str
    if not scripted:
        return app.start(verbs, version=__version__)
    statements = sys.stdin.read() if options.statements is None else options.statements
    if not statements.strip():
        raise UsageError("no verb, and no terminal for the shell", fix=f"{run.setup.program} --help")
    return app.run_statements(verbs, statements)


COMMANDS: Mapping[str, Command] = {
    "launch": _launch,
    "status": _plain("status"),
    "install": _install,
    "terminate": _plain("terminate"),
    "stop": _plain("stop"),
    "start": _plain("start"),
    "experiment": _experiment,
    "cost": _plain("cost"),
    "extend": _extend,
    "idle": _idle,
    "instances": _instances,
    "quota": _quota,
    "access": _plain("refresh_access"),
    "recover": _recover,
    "run": _run,
    "attach": _attach,
    "runs": _plain("runs"),
    "logs": _logs,
    "join": _on_run("join"),
    "cancel": _on_run("cancel"),
    "fetch": _on_run("fetch"),
    "killall": _plain("kill_all"),
    "gpus": _gpus,
    "exec": _exec,
    "ssh": _ssh,
    "dashboard": _dashboard,
    "config": _config,
    "completion": _completion,
    "shell": _shell,
}
"""Verb -> what carries it out; the return value is the exit code, None is 0."""
