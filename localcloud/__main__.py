"""``python -m localcloud up|down|status|scenario|calls|logs|env``: the embedded cloud's command line."""

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
from localcloud.server import control_client, daemon


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 it failed (the reason is on stderr), 2 usage."""
    words = _parser().parse_args(argv)
    try:
        return _VERBS[words.verb](find_home(words.home), words)
    except LocalCloudError as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localcloud", description="An EC2-compatible cloud on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = _verb(verbs, "up", "start the cloud unless it is up; print its environment")
    up.add_argument("--real-times", action="store_true", help="take as long as EC2: 17 s pending, 4 s boot")
    up.add_argument("--pending", type=seconds, metavar="S", help="seconds from launch to running (default 1)")
    up.add_argument("--boot", type=seconds, metavar="S", help="seconds from running to SSH (default 0.5)")
    up.add_argument(
        "--hosts", choices=daemon.KINDS, help="what its machines are (default: LOCALCLOUD_HOSTS_KIND, or process)"
    )
    up.add_argument("--scenario", metavar="FILE", help="what is to go wrong (docs/scenarios.md)")
    _verb(verbs, "down", "end the cloud and everything in it")
    status = _verb(verbs, "status", "show what is up; exit code 1 when nothing is")
    status.add_argument("--output", choices=("text", "json"), default="text")
    scenario = _verb(verbs, "scenario", "play a scenario on the cloud that is up, show it, or list what can go wrong")
    scenario.add_argument("what", metavar="FILE|none|show|kinds", help="a scenario file; none for fair weather")
    calls = _verb(verbs, "calls", "show the API calls that the cloud has seen")
    calls.add_argument("--output", choices=("text", "json"), default="text")
    logs = _verb(verbs, "logs", "show the daemon's log")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    _verb(verbs, "env", "print the environment of the cloud that is up, one KEY=VALUE a line")
    return parser


def _verb(verbs: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=meaning, description=meaning)
    parser.add_argument("--home", metavar="DIR", help="the cloud's folder (default: LOCALCLOUD_HOME)")
    return parser


def seconds(text: str) -> float:
    """A number of seconds, as typed; its name is part of argparse's message."""
    number = float(text)
    if not 0 <= number < 3600:
        raise argparse.ArgumentTypeError("must lie between 0 and 3600")
    return number


def _up(home: Home, words: argparse.Namespace) -> int:
    times = {"real_times": words.real_times, "pending": words.pending, "boot": words.boot}
    options = daemon.CloudOptions(**times, hosts=daemon.resolve_host_kind(words.hosts))
    day = control_client.read_scenario(words.scenario)
    environment = daemon.up(home, options, _note)
    if words.scenario:
        control_client.play(environment["AWS_ENDPOINT_URL"], day)
    _print_environment(environment)
    return 0


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _down(home: Home, _: argparse.Namespace) -> int:
    if not daemon.down(home):
        print("nothing was up", file=sys.stderr)
    return 0


def _env(home: Home, _: argparse.Namespace) -> int:
    _print_environment(daemon.environment(home))
    return 0


def _print_environment(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        print(f"{name}={shlex.quote(value)}")


def _status(home: Home, words: argparse.Namespace) -> int:
    facts = daemon.status(home)
    print(json.dumps(facts, indent=1) if words.output == "json" else _status_text(facts))
    return 0 if facts["running"] else 1


def _status_text(facts: Mapping[str, Any]) -> str:
    if not facts["running"]:
        return f"no cloud is up ({facts['home']})"
    count = len(facts["processes"])
    lines = [f"{facts['endpoint']} is up: pid {facts['pid']}, {count} processes, home {facts['home']}"]
    for one in facts["instances"]:
        lines.append("  {id}  {state:13}  {type:12}  {zone:11}  {address:15}  {name}".format(**one).rstrip())
    return "\n".join(lines)


def _scenario(home: Home, words: argparse.Namespace) -> int:
    from localcloud.scenarios import fault_kinds

    if words.what == "kinds":
        print(fault_kinds.reference(), end="")
        return 0
    day = control_client.read_scenario(None if words.what in ("none", "show") else words.what)
    url = daemon.environment(home)["AWS_ENDPOINT_URL"]
    if words.what == "show":
        print(control_client.current_scenario(url), end="")
    else:
        control_client.play(url, day)
    return 0


def _calls(home: Home, words: argparse.Namespace) -> int:
    seen = control_client.calls(daemon.environment(home)["AWS_ENDPOINT_URL"])
    if words.output == "json":
        print(json.dumps(seen))
    else:
        print("\n".join(f"{one.time:10.3f} s  {one.action:40}  {one.outcome}" for one in seen))
    return 0


def _logs(home: Home, words: argparse.Namespace) -> int:
    if not home.log.exists():
        raise LocalCloudError(f"there is no log yet ({home.log})")
    sys.stdout.flush()
    argv = ["tail", "-n", "+1", *(["-F"] if words.follow else []), str(home.log)]
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
