"""Command line of the embedded cloud: ``python -m localcloud up|down|status|scenario|calls|logs|env``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home, find_home
from localcloud.server import control_client, daemon, host_kinds


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code: 0 success, 1 failure (with the reason on stderr), 2 usage."""
    args = _parser().parse_args(argv)
    try:
        return _VERBS[args.verb](find_home(args.home), args)
    except LocalCloudError as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localcloud", description="Embedded cloud: an EC2-compatible API on this computer."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = _verb(verbs, "up", "start the cloud unless it is running; print its environment")
    up.add_argument("--real-times", action="store_true", help="take as long as EC2: 17 s pending, 4 s boot")
    up.add_argument("--pending", type=seconds, metavar="S", help="seconds from launch to running (default 1)")
    up.add_argument("--boot", type=seconds, metavar="S", help="seconds from running to SSH (default 0.5)")
    up.add_argument(
        "--hosts", choices=tuple(host_kinds.KINDS), help="kind of hosts (default: LOCALCLOUD_HOSTS_KIND, or process)"
    )
    up.add_argument("--scenario", metavar="FILE", help="faults to inject (docs/scenarios.md)")
    _verb(verbs, "down", "stop the cloud and everything in it")
    status = _verb(verbs, "status", "show the running cloud; exit code 1 if there is none")
    status.add_argument("--output", choices=("text", "json"), default="text")
    scenario = _verb(verbs, "scenario", "start a scenario on the running cloud, show it, or list the kinds of faults")
    scenario.add_argument("source", metavar="FILE|none|show|kinds", help="a scenario file; none for no faults")
    calls = _verb(verbs, "calls", "show the API calls so far")
    calls.add_argument("--output", choices=("text", "json"), default="text")
    logs = _verb(verbs, "logs", "show the daemon's log")
    logs.add_argument("-f", "--follow", action="store_true", help="keep printing new lines")
    _verb(verbs, "env", "print the environment of the running cloud, one KEY=VALUE per line")
    return parser


def _verb(verbs: Any, name: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=description, description=description)
    parser.add_argument("--home", metavar="DIR", help="the cloud's folder (default: LOCALCLOUD_HOME)")
    return parser


def seconds(text: str) -> float:
    """Return a number of seconds as typed; argparse uses this function's name in its messages."""
    number = float(text)
    if not 0 <= number < 3600:
        raise argparse.ArgumentTypeError("must be between 0 and 3600")
    return number


def _up(home: Home, args: argparse.Namespace) -> int:
    kind = host_kinds.resolve(args.hosts, host_kinds.KINDS)
    options = daemon.CloudOptions(args.real_times, args.pending, args.boot, hosts=kind)
    scenario = control_client.read_scenario(args.scenario)
    environment = daemon.up(home, options, _print_progress)
    if args.scenario:
        control_client.play(environment["AWS_ENDPOINT_URL"], scenario)
    _print_environment(environment)
    return 0


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _down(home: Home, _: argparse.Namespace) -> int:
    if not daemon.down(home):
        print("no embedded cloud was running", file=sys.stderr)
    return 0


def _env(home: Home, _: argparse.Namespace) -> int:
    _print_environment(daemon.environment(home))
    return 0


def _print_environment(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        print(f"{name}={shlex.quote(value)}")


def _status(home: Home, args: argparse.Namespace) -> int:
    facts = daemon.status(home)
    print(json.dumps(facts, indent=1) if args.output == "json" else _status_text(facts))
    return 0 if facts["running"] else 1


def _status_text(facts: Mapping[str, Any]) -> str:
    if not facts["running"]:
        return f"no embedded cloud is running ({facts['home']})"
    count = len(facts["processes"])
    lines = [f"{facts['endpoint']} is running: pid {facts['pid']}, {count} processes, home {facts['home']}"]
    for instance in facts["instances"]:
        lines.append("  {id}  {state:13}  {type:12}  {zone:11}  {address:15}  {name}".format(**instance).rstrip())
    return "\n".join(lines)


def _scenario(home: Home, args: argparse.Namespace) -> int:
    from localcloud.scenarios.reference import reference

    if args.source == "kinds":
        print(reference(), end="")
        return 0
    scenario = control_client.read_scenario(None if args.source in ("none", "show") else args.source)
    url = daemon.environment(home)["AWS_ENDPOINT_URL"]
    if args.source == "show":
        print(control_client.current_scenario(url), end="")
    else:
        control_client.play(url, scenario)
    return 0


def _calls(home: Home, args: argparse.Namespace) -> int:
    calls = control_client.calls(daemon.environment(home)["AWS_ENDPOINT_URL"])
    if args.output == "json":
        print(json.dumps(calls))
    else:
        print("\n".join(f"{call.time:10.3f} s  {call.action:40}  {call.outcome}" for call in calls))
    return 0


def _logs(home: Home, args: argparse.Namespace) -> int:
    if not home.log.exists():
        raise LocalCloudError(f"no log yet ({home.log})")
    # execvp replaces this process without flushing Python's buffers.
    sys.stdout.flush()
    argv = ["tail", "-n", "+1", *(["-F"] if args.follow else []), str(home.log)]
    os.execvp(argv[0], argv)


_VERBS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "scenario": _scenario,
    "calls": _calls,
    "logs": _logs,
    "env": _env,
}

if __name__ == "__main__":
    sys.exit(main())
