"""Completion scripts for bash, zsh and fish, written from the parser itself, so they cannot disagree with it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

PROGRAM = "stratus"


@dataclass(frozen=True)
class Verb:
    """What can be typed after one verb.

    :param options: ``--name`` or ``-n`` -> its help.
    :param words: fixed words that it takes.
    """

    name: str
    help: str
    options: dict[str, str]
    words: tuple[str, ...]


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the completion script of ``bash``, ``zsh`` or ``fish``."""
    verbs = list(_verbs(parser))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](_options(parser), verbs)


def _verbs(parser: argparse.ArgumentParser) -> Iterator[Verb]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                yield Verb(name, helps.get(name, ""), _options(sub), _words(sub))


def _options(parser: argparse.ArgumentParser) -> dict[str, str]:
    return {name: _one_line(action.help) for action in parser._actions for name in action.option_strings}


def _words(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    positional = (action for action in parser._actions if not action.option_strings and action.choices)
    return tuple(str(choice) for action in positional for choice in action.choices or ())


def _one_line(text: str | None) -> str:
    return (text or "").replace("%%", "%").replace("'", "")


def _bash(top: dict[str, str], verbs: list[Verb]) -> str:
    cases = "\n".join(f"    {verb.name}) words='{' '.join([*verb.options, *verb.words])}' ;;" for verb in verbs)
    return f"""\
# {PROGRAM} completion bash > ~/.local/share/bash-completion/completions/{PROGRAM}
_{PROGRAM}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb= words= i
  case $before in
    --config) COMPREPLY=($(compgen -f -- "$word")); return ;;
    --job) COMPREPLY=($(compgen -d -- "$word")); return ;;
    --output) COMPREPLY=($(compgen -W 'text json' -- "$word")); return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
      --config|--output|-c) ((i++)) ;;
      -*) ;;
      *) verb=${{COMP_WORDS[i]}}; break ;;
    esac
  done
  case $verb in
    '') words='{" ".join([*top, *(verb.name for verb in verbs)])}' ;;
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _{PROGRAM} {PROGRAM}
"""


def _zsh(top: dict[str, str], verbs: list[Verb]) -> str:
    names = "\n".join(f"    '{verb.name}:{_one_line(verb.help).replace(':', ' -')}'" for verb in verbs)
    cases = "\n".join(f"    {verb.name}) compadd -- {' '.join([*verb.options, *verb.words])} ;;" for verb in verbs)
    return f"""\
#compdef {PROGRAM}
# {PROGRAM} completion zsh > a folder of $fpath/_{PROGRAM}
_{PROGRAM}() {{
  local -a verbs
  local verb= i
  verbs=(
{names}
  )
  case ${{words[CURRENT-1]}} in
    --config) _files; return ;;
    --job) _files -/; return ;;
    --output) compadd text json; return ;;
  esac
  for ((i = 2; i < CURRENT; i++)); do
    case ${{words[i]}} in
      --config|--output|-c) ((i++)) ;;
      -*) ;;
      *) verb=${{words[i]}}; break ;;
    esac
  done
  case $verb in
    '') _describe verb verbs; compadd -- {" ".join(top)} ;;
{cases}
  esac
}}
if [ "$funcstack[1]" = "_{PROGRAM}" ]; then _{PROGRAM} "$@"; else compdef _{PROGRAM} {PROGRAM}; fi
"""


def _fish(top: dict[str, str], verbs: list[Verb]) -> str:
    lines = [f"# {PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish", f"complete -c {PROGRAM} -f"]
    lines += [f"complete -c {PROGRAM} -n __fish_use_subcommand {_fish_option(*option)}" for option in top.items()]
    for verb in verbs:
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {verb.name} -d '{_one_line(verb.help)}'")
        inside = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {verb.name}'"
        lines += [f"{inside} {_fish_option(*option)}" for option in verb.options.items()]
        lines += [f"{inside} -a '{' '.join(verb.words)}'"] if verb.words else []
    return "\n".join(lines) + "\n"


def _fish_option(name: str, help_: str) -> str:
    kind = "-l" if name.startswith("--") else "-s"
    takes_path = {"--config": " -r -F", "--job": " -r -F", "--output": " -x -a 'text json'"}.get(name, "")
    return f"{kind} {name.lstrip('-')}{takes_path} -d '{help_}'"
