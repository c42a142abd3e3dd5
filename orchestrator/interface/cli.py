"""The command line: ``stratus VERB``, the verbs of the shell as commands, with exit codes that scripts can rely on.

    0  ok                          3    the cloud refused
    1  the job or a host failed    4    something is, or may be, left running: it is listed
    2  usage or config             130  Ctrl-C

Nothing heavy is imported before a verb needs it: ``--help`` and completion answer at once.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator import __version__
from orchestrator.errors import CloudRefused, StratusError, UsageError
from orchestrator.interface import words
from orchestrator.interface.console import Console

if TYPE_CHECKING:
    from orchestrator.interface.desk import Desk, Opener
    from orchestrator.interface.verbs import Verbs

INTERRUPTED = 130
BROKEN_PIPE = 141

EPILOG = """\
without a verb: the shell.   -c 'LaunchInstances(2); InstallDeps()': run statements of the shell and exit.
exit codes: 0 ok, 1 the job or a host failed, 2 usage or config, 3 the cloud refused,
            4 something is left running (it is listed), 130 Ctrl-C
"""


class NoCloud(CloudRefused):
    """There is no cloud to work on: the rehearsal cloud would not start."""


def _nothing() -> None:
    pass


OUTPUT_HELP = "json: one document on stdout, words on stderr"


@dataclass(frozen=True)
class Setup:
    """How this program was started.

    :param program: what to type to start it again.
    :param config: the config file when ``--config`` names none; None looks in the working directory.
    :param local: ``--local`` was given and is taken care of.
    :param prepare: called before the first verb that works on a cloud, and not for ``--help`` and the like.
    :param opener: opens sessions; None is the real one.
    """

    program: str = "stratus"
    config: Path | None = None
    local: bool = False
    prepare: Callable[[], None] = _nothing
    opener: Opener | None = None


def main(argv: Sequence[str] | None = None, setup: Setup = Setup()) -> int:
    """Carry out a command line and return its exit code; the one place where errors become exit codes."""
    argv = list(sys.argv[1:] if argv is None else argv)
    console = Console(document=_wants_document(argv))
    session = _Invocation(argv, setup, console)
    try:
        return session.carry_out()
    except BrokenPipeError:
        # The reader went away (``| head``); nothing more can be said, not even while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt as interrupt:
        console.complain(str(interrupt) or "Interrupted.")
        return INTERRUPTED
    except StratusError as error:
        return session.failed(error)
    except Exception as error:
        return session.failed(session.bug(error))
    finally:
        session.close()


def verb_at(argv: Sequence[str]) -> int:
    """Return where in a command line the verb stands; its length when there is none."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in ("--config", "--output", "-c") else 1
    return min(at, len(argv))


def _wants_document(argv: Sequence[str]) -> bool:
    """Tell from the bare words whether stdout is for one JSON document: usage errors must know, too."""
    return "--output=json" in argv or ("--output", "json") in itertools.pairwise(argv)


class _Invocation:
    """One command line on its way."""

    def __init__(self, argv: Sequence[str], setup: Setup, console: Console) -> None:
        self.argv = argv
        self.setup = setup
        self.console = console
        self.desk: Desk | None = None
        self.verbs: Verbs | None = None
        console.reword = words.for_command_line(setup.program)

    def carry_out(self) -> int:
        options = parser(self.setup.program).parse_args(self.argv)
        if options.local and not self.setup.local:
            raise UsageError(
                "--local starts the rehearsal cloud, and only run_interface.py can do that",
                fix=f"python run_interface.py {' '.join(self.argv)}",
            )
        self.console.program = _again(self.setup.program, options)
        self.console.reword = words.for_command_line(self.console.program)
        return int(options.carry_out(self, options) or 0)

    def work(self, options: argparse.Namespace, *, consent: bool = False) -> Verbs:
        """Open the desk, not yet the session."""
        from orchestrator.interface.desk import Desk
        from orchestrator.interface.verbs import Verbs

        self.setup.prepare()
        more: dict[str, Any] = {"opener": self.setup.opener} if self.setup.opener else {}
        self.desk = Desk(options.config or self.setup.config, self.console, consent=consent, **more)
        self.verbs = Verbs(self.desk)
        return self.verbs

    def document(self, record: object) -> None:
        """Print a record as the one document, if a document was asked for."""
        if self.console.document:
            from orchestrator.interface import documents

            self.console.write(documents.text(documents.document(record)))

    def failed(self, error: StratusError) -> int:
        """Say what went wrong, in a line and, if asked for, as the document."""
        self.console.complain(str(error))
        if self.console.document:
            from orchestrator.interface import documents

            # What was achieved on the way belongs to the answer.
            got = documents.document(self.verbs.last) if self.verbs else None
            got = got if isinstance(got, dict) else {"result": got} if got else {}
            problem = documents.error(error)
            problem |= {"fix": self.console.reword(error.fix)} if error.fix else {}
            self.console.write(documents.text(got | problem))
        return error.exit_code

    def bug(self, error: Exception) -> StratusError:
        from orchestrator.interface.desk import Desk

        return (self.desk or Desk(None, self.console)).bug(error)

    def close(self) -> None:
        if self.desk is not None:
            self.desk.close()


def _again(program: str, options: argparse.Namespace) -> str:
    """Return what starts the program with the same options before the verb."""
    config = f" --config {options.config}" if options.config else ""
    return f"{program}{config}"


# --- what can be typed


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are ours: one line, exit code 2 decided in one place."""

    def error(self, message: str) -> NoReturn:
        unknown = _UNKNOWN_VERB.search(message)
        if unknown:
            from orchestrator.config import ini

            known = re.findall(r"'(\w+)'", unknown[2])
            message = f"{unknown[1]}: no such verb.{ini.suggest(unknown[1], known)}"
        raise UsageError(message, fix=f"{self.prog} --help")


_UNKNOWN_VERB = re.compile(r"argument VERB: invalid choice: '([^']*)' \(choose from (.*)\)", re.DOTALL)


def parser(program: str = "stratus") -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(
        prog=program,
        description="Machine-learning jobs on EC2, on one VM or on many: launch, install, run, fetch, terminate.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"stratus {__version__}")
    top.add_argument("--config", type=Path, metavar="FILE", help="default: config/config.ini, else config.ini")
    top.add_argument("--local", action="store_true", help="the rehearsal cloud of this computer: no account, no cost")
    top.add_argument("--output", choices=["text", "json"], default="text", help=OUTPUT_HELP)
    top.add_argument("-c", metavar="STATEMENTS", dest="statements", help="run statements of the shell and exit")
    top.set_defaults(carry_out=_shell)
    verbs = top.add_subparsers(metavar="VERB", title="verbs", dest="verb", parser_class=_Parser)
    for add in (_add_life, _add_jobs, _add_rest):
        add(_Adder(verbs))
    return top


class _Adder:
    """Adds verbs to the parser; each of them takes ``--output`` after it as well as before it."""

    def __init__(self, verbs: Any) -> None:
        self.verbs = verbs

    def __call__(self, name: str, carry_out: Callable[..., int | None], help_: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self.verbs.add_parser(
            name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.", allow_abbrev=False
        )
        parser.set_defaults(carry_out=carry_out)
        parser.add_argument("--output", choices=["text", "json"], default=argparse.SUPPRESS, help=OUTPUT_HELP)
        return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of VMs: a whole number from 1 on")
    return int(text)


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", type=_count, metavar="N", help="how many VMs (default: [cluster] count)")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask whether the price is all right")


def _add_life(add: _Adder) -> None:
    launch = add("launch", _launch, "launch VMs: shows the price, asks, waits until each answers SSH")
    _add_consent(launch)
    add("status", _plain("status"), "show the VMs: state, address, price, when they end themselves")
    install = add("install", _install, "install what the job needs on every VM; again it is a check")
    install.add_argument("hosts", nargs="*", metavar="HOST", help="only these (default: all)")
    terminate = add("terminate", _plain("terminate"), "end every VM of this cluster that is yours")
    terminate.add_argument("-y", "--yes", action="store_true", help="accepted for symmetry: terminating never asks")
    add("stop", _plain("stop"), "stop the VMs; disks stay and are billed")
    add("start", _plain("start"), "start stopped VMs and wait for SSH")
    experiment = add("experiment", _experiment, "launch, install, run, fetch, terminate: all in one")
    experiment.add_argument("--multi", action="store_true", help="on all VMs together")
    _add_consent(experiment)
    add("cost", _plain("cost"), "show what it costs: per hour, so far, at most")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", metavar="RUN", help="id or its end (default: the newest)")


def _add_jobs(add: _Adder) -> None:
    run = add("run", _run, "run the job and show its output; it runs on the VMs by itself, Ctrl-C does not end it")
    run.add_argument("--multi", action="store_true", help="on all VMs together")
    run.add_argument("--detach", action="store_true", help="start it and come back at once")
    run.add_argument("--job", default="", metavar="DIR", help="folder of the job (default: [job] run)")
    run.add_argument("--host", default="", metavar="HOST", help="which VM (default: the first; not with --multi)")
    _add_run(add("attach", _attach, "watch a run from its beginning until it ends"))
    add("runs", _plain("runs"), "list the runs that the VMs know")
    logs = add("logs", _logs, "print the log of a run so far")
    _add_run(logs)
    logs.add_argument("--host", default="", metavar="HOST", help="only this host's")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    _add_run(add("cancel", _on_run("cancel"), "end a run: every process of it on every host"))
    _add_run(add("fetch", _on_run("fetch"), "bring outputs, logs and record of a run to runs/<id>/"))


def _add_rest(add: _Adder) -> None:
    ssh = add("ssh", _ssh, "open a terminal on a VM, or run one command there")
    ssh.add_argument("host", metavar="HOST")
    ssh.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run there")
    _add_run(add("dashboard", _dashboard, "open a tunnel to a run's Dask dashboard, until Ctrl-C"))
    config = add("config", _config, "the config file: check it, show it, write one to start from")
    whats = ["check", "init", "show", "template", "reference"]
    config.add_argument("what", choices=whats, metavar="{check,init,show,reference}", nargs="?", default="check")
    completion = add("completion", _completion, "print the completion script of a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    add("shell", _shell, "the shell: the same verbs in IPython")


# --- carrying out


def _plain(verb: str) -> Callable[[_Invocation, argparse.Namespace], None]:
    """Return what carries out a verb that takes nothing."""

    def carry_out(run: _Invocation, options: argparse.Namespace) -> None:
        run.document(getattr(run.work(options), verb)())

    return carry_out


def _on_run(verb: str) -> Callable[[_Invocation, argparse.Namespace], None]:
    """Return what carries out a verb that takes a run."""

    def carry_out(run: _Invocation, options: argparse.Namespace) -> None:
        run.document(getattr(run.work(options), verb)(options.run))

    return carry_out


def _launch(run: _Invocation, options: argparse.Namespace) -> None:
    run.document(run.work(options).launch(options.n, yes=options.yes))


def _experiment(run: _Invocation, options: argparse.Namespace) -> None:
    record, ended = run.work(options).experiment(options.multi, options.n, yes=options.yes)
    run.document({"run": record, "terminated": ended})


def _install(run: _Invocation, options: argparse.Namespace) -> None:
    run.document(run.work(options).install(*options.hosts))


def _run(run: _Invocation, options: argparse.Namespace) -> int:
    verbs = run.work(options)
    if options.multi:
        if options.host:
            raise UsageError("--host names one VM, --multi takes all", fix="leave one of them out")
        outcome = verbs.run_multi(options.job, detach=options.detach)
    else:
        outcome = verbs.run_single(options.job, host=options.host, detach=options.detach)
    run.document(outcome)
    return 0 if options.detach else _ended(outcome)


def _attach(run: _Invocation, options: argparse.Namespace) -> int:
    outcome = run.work(options).attach(options.run)
    run.document(outcome)
    return _ended(outcome)


def _ended(outcome: object) -> int:
    from orchestrator.reports import RunResult

    return 0 if isinstance(outcome, RunResult) else INTERRUPTED


def _logs(run: _Invocation, options: argparse.Namespace) -> None:
    verbs = run.work(options)
    if not run.console.document:
        return verbs.logs(options.run, host=options.host, follow=options.follow)
    lines = verbs.desk.session().logs(options.run, host=options.host, follow=options.follow)
    run.document({"lines": [{"host": host, "line": line} for host, line in lines]})


def _ssh(run: _Invocation, options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    return run.work(options).ssh(options.host, *command)


def _dashboard(run: _Invocation, options: argparse.Namespace) -> None:
    import threading

    run.document({"url": run.work(options).dashboard(options.run).url})
    try:
        # Waiting for Ctrl-C; the timeout only lets Python notice it everywhere.
        while not threading.Event().wait(3600):
            pass
    except KeyboardInterrupt:
        run.console.say("  closed")


def _config(run: _Invocation, options: argparse.Namespace) -> None:
    from orchestrator.interface import configuring

    configuring.carry_out(options.what, run.work(options).desk, run.document)


def _completion(run: _Invocation, options: argparse.Namespace) -> None:
    from orchestrator.interface import completion

    run.console.write(completion.script(options.shell, parser(run.setup.program)))


def _shell(run: _Invocation, options: argparse.Namespace) -> int:
    from orchestrator.interface import shell

    scripted = options.statements is not None or not sys.stdin.isatty()
    verbs = run.work(options, consent=scripted)
    run.console.reword = str
    if not scripted:
        return shell.start(verbs, version=__version__)
    statements = sys.stdin.read() if options.statements is None else options.statements
    return shell.run_statements(verbs, statements)
