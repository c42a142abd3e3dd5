"""What can be typed after ``stratus``: verbs, options and their help. Nothing here acts."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.core.errors import UsageError
from orchestrator.core.version import __version__

EPILOG = """\
without a verb: the shell.   -c 'LaunchInstances(2); InstallDeps()': run statements of the shell and exit.
rehearse FILE: play a bad day (docs/scenarios.md) against your config, on the rehearsal cloud; asks no account.
exit codes: 0 ok, 1 the job or a host failed, 2 usage or config, 3 the cloud refused,
            4 something is left running (it is listed), 130 Ctrl-C
"""

OUTPUT_HELP = "json: one document on stdout, words on stderr"
STATEMENTS_HELP = "run statements of the shell and exit; prices are not asked about"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are ours: one line, exit code 2 decided in one place."""

    def error(self, message: str) -> NoReturn:
        unknown = _UNKNOWN_VERB.search(message)
        if unknown:
            from orchestrator.config import ini

            known = re.findall(r"'(\w+)'", unknown[2])
            message = f"{unknown[1]}: no such verb.{ini.suggest(unknown[1], known)}"
        late = _LATE_OPTION.search(message)
        if late:
            raise UsageError(f"{late[1]} goes before the verb", fix=f"{self.prog} {late[1]} ... VERB")
        raise UsageError(message, fix=f"{self.prog} --help")


_LATE_OPTION = re.compile(r"unrecognized arguments:.*?(--local|--config)\b")
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
    top.add_argument("-c", metavar="STATEMENTS", dest="statements", help=STATEMENTS_HELP)
    verbs = top.add_subparsers(metavar="VERB", title="verbs", dest="verb", parser_class=_Parser)
    for add in (_add_life, _add_jobs, _add_rest):
        add(_Adder(verbs))
    return top


class _Adder:
    """Adds verbs to the parser; each of them takes ``--output`` after it as well as before it."""

    def __init__(self, verbs: Any) -> None:
        self.verbs = verbs

    def __call__(self, name: str, help_: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self.verbs.add_parser(
            name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.", allow_abbrev=False
        )
        parser.add_argument("--output", choices=["text", "json"], default=argparse.SUPPRESS, help=OUTPUT_HELP)
        return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of VMs: a whole number from 1 on")
    return int(text)


def _count_or_none(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number: 0, 30")
    return int(text)


def _amount(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number: 4, 1.5")
    return float(text)


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", type=_count, metavar="N", help="how many VMs (default: [cluster] count)")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask whether the price is all right")


def _add_life(add: _Adder) -> None:
    launch = add("launch", "launch VMs: shows the price, asks, waits until each answers SSH")
    _add_consent(launch)
    add("status", "show the VMs: state, address, price, when they end themselves")
    install = add("install", "install what the job needs on every VM; again it is a check")
    install.add_argument("hosts", nargs="*", metavar="HOST", help="only these (default: all)")
    terminate = add("terminate", "end every VM of this cluster that is yours")
    terminate.add_argument("-y", "--yes", action="store_true", help="accepted for symmetry: terminating never asks")
    add("stop", "stop the VMs; disks stay and are billed")
    add("start", "start stopped VMs and wait for SSH")
    experiment = add("experiment", "launch, install, run, fetch, terminate: all in one")
    experiment.add_argument("--multi", action="store_true", help="on all VMs together")
    _add_consent(experiment)
    add("cost", "show what it costs: per hour, so far, at most")
    extend = add("extend", "let the VMs live longer, as far as max_dollars allows")
    extend.add_argument("hours", type=_amount, metavar="HOURS", help="added to the time that each has left")
    recover = add("recover", "launches that were cut short: list them, finish or end them")
    recover.add_argument("then", choices=["finish", "terminate"], metavar="{finish,terminate}", nargs="?")
    types = add("instances", "list instance types that can be launched now, the cheapest first")
    types.add_argument("--gpus", type=_count_or_none, default=0, metavar="N", help="at least so many; 0: types without")
    types.add_argument("--vcpus", type=_count_or_none, default=0, metavar="N", help="at least so many")
    types.add_argument("--memory", type=_amount, default=0.0, metavar="GIB", help="at least so much")
    quota = add("quota", "ask AWS for the vCPU quota that a launch takes, unless there is enough")
    quota.add_argument("-n", type=_count, metavar="N", help="how many VMs (default: [cluster] count)")
    add("access", "admit the address that this computer has now to the VMs, and no old one")
    idle = add("idle", "end VMs that nobody uses: no job, no SSH session, no GPU use")
    idle.add_argument("minutes", type=_count_or_none, metavar="MINUTES", help="of nobody's use; 0: never")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", metavar="RUN", help="id or its end (default: the newest)")


def _add_jobs(add: _Adder) -> None:
    run = add("run", "run the job and show its output; it runs on the VMs by itself, Ctrl-C does not end it")
    run.add_argument("--multi", action="store_true", help="on all VMs together")
    run.add_argument("--detach", action="store_true", help="start it and come back at once")
    run.add_argument("--job", default="", metavar="DIR", help="folder of the job (default: [job] run)")
    run.add_argument("--host", default="", metavar="HOST", help="which VM (default: the first; not with --multi)")
    _add_run(add("attach", "watch a run from its beginning until it ends"))
    add("runs", "list the runs that the VMs know")
    logs = add("logs", "print the log of a run so far")
    _add_run(logs)
    logs.add_argument("--host", default="", metavar="HOST", help="only this host's")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    _add_run(add("join", "let VMs that came up later take part in an elastic run"))
    _add_run(add("cancel", "end a run: every process of it on every host"))
    add("killall", "end every run: all processes and containers of all of them, on every VM")
    gpus = add("gpus", "show what each VM is doing: GPUs, cores, memory, processes of your runs")
    gpus.add_argument("hosts", nargs="*", metavar="HOST", help="only these (default: all)")
    everywhere = add("exec", "run a command on every VM and show what each says")
    everywhere.add_argument("--host", default="", metavar="HOST", help="only on this one")
    everywhere.add_argument("--timeout", type=_amount, default=600.0, metavar="S", help="seconds that it may take")
    everywhere.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="after --: what to run there")
    _add_run(add("fetch", "bring outputs, logs and record of a run to runs/<id>/"))


def _add_rest(add: _Adder) -> None:
    ssh = add("ssh", "open a terminal on a VM, or run one command there")
    ssh.add_argument("host", metavar="HOST")
    ssh.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run there")
    _add_run(add("dashboard", "open a tunnel to a run's Dask dashboard, until Ctrl-C"))
    config = add("config", "the config file: check it, show it, write one to start from")
    whats = ["check", "init", "show", "template", "reference"]
    config.add_argument("what", choices=whats, metavar="{check,init,show,reference}", nargs="?", default="check")
    completion = add("completion", "print the completion script of a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    add("shell", "the shell: the same verbs in IPython")
