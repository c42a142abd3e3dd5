"""Completion scripts for bash, zsh and fish, derived from the same commands as the parser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.interface.cli.commands import SHELLS, Command
from orchestrator.interface.cli.parser import OUTPUT_HELP, TOP_OPTIONS

PROGRAM = "stratus"


def script(shell: str, commands: Sequence[Command]) -> str:
    """Return the completion script of ``bash``, ``zsh`` or ``fish``."""
    return dict(zip(SHELLS, (_bash, _zsh, _fish), strict=True))[shell](commands)


def _top_options() -> dict[str, str]:
    """Return the options before the verb -> their help."""
    # argparse adds these by itself.
    own = {"-h": "show help", "--help": "show help", "--version": "show the version"}
    return own | {name: _one_line(options["help"]) for names, options in TOP_OPTIONS for name in names}


def _options(command: Command) -> dict[str, str]:
    """Return the options after the verb -> their help."""
    shared = {"-h": "show help", "--help": "show help", "--output": OUTPUT_HELP}
    return {name: _one_line(text) for name, text in (shared | command.options).items()}


def _file_options(commands: Sequence[Command]) -> list[str]:
    """Return the options that take a file or a folder."""
    arguments = (argument for command in commands for argument in command.arguments)
    return sorted({flag for argument in arguments if argument.completes == "job" for flag in argument.flags})


def _old_names(commands: Sequence[Command]) -> str:
    """Return the further names of commands, which are completed, but not advertised."""
    return " ".join(alias for command in commands for alias in command.aliases)


def _one_line(text: str) -> str:
    # The scripts put help into single quotes.
    return text.replace("'", "")


def _bash(commands: Sequence[Command]) -> str:
    # Aliases are not listed: old names keep working, and complete, without being advertised.
    cases = "\n".join(
        f"    {'|'.join((command.name, *command.aliases))}) words='{' '.join([*_options(command), *command.words])}' ;;"
        for command in commands
    )
    files = "|".join(_file_options(commands))
    return f"""\
# {PROGRAM} completion bash > ~/.local/share/bash-completion/completions/{PROGRAM}
_{PROGRAM}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb= words= i
  case $before in
    --config) COMPREPLY=($(compgen -f -- "$word")); return ;;
    {files}) COMPREPLY=($(compgen -f -- "$word")); return ;;
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
    '') words='{" ".join([*_top_options(), *(command.name for command in commands)])}' ;;
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  # Old names only when nothing else begins like the word.
  [ -n "$verb" ] || [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -W '{_old_names(commands)}' -- "$word"))
}}
complete -o default -F _{PROGRAM} {PROGRAM}
"""


def _zsh(commands: Sequence[Command]) -> str:
    names = "\n".join(f"    '{command.name}:{_one_line(command.help).replace(':', ' -')}'" for command in commands)
    cases = "\n".join(
        f"    {'|'.join((command.name, *command.aliases))}) "
        f"compadd -- {' '.join([*_options(command), *command.words])} ;;"
        for command in commands
    )
    files = "|".join(_file_options(commands))
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
    {files}) _files; return ;;
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
    '') _describe verb verbs || compadd -- {_old_names(commands)}; compadd -- {" ".join(_top_options())} ;;
{cases}
  esac
}}
if [ "$funcstack[1]" = "_{PROGRAM}" ]; then _{PROGRAM} "$@"; else compdef _{PROGRAM} {PROGRAM}; fi
"""


def _fish(commands: Sequence[Command]) -> str:
    # fish completes file names everywhere unless told not to (-f).
    files = _file_options(commands)
    lines = [f"# {PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish", f"complete -c {PROGRAM} -f"]
    lines += [
        f"complete -c {PROGRAM} -n __fish_use_subcommand {_fish_option(*option, files)}"
        for option in _top_options().items()
    ]
    return "\n".join([*lines, *(text for command in commands for text in _fish_command(command, files))]) + "\n"


def _fish_command(command: Command, files: Sequence[str]) -> Iterator[str]:
    yield f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command.name} -d '{_one_line(command.help)}'"
    inside = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {' '.join((command.name, *command.aliases))}'"
    for option in _options(command).items():
        yield f"{inside} {_fish_option(*option, files)}"
    if command.aliases:
        # Old names: only once something is typed.
        typed = "__fish_use_subcommand; and test -n (commandline -ct)"
        yield f"complete -c {PROGRAM} -n '{typed}' -a '{' '.join(command.aliases)}'"
    if command.words:
        yield f"{inside} -a '{' '.join(command.words)}'"


def _fish_option(name: str, help_text: str, files: Sequence[str]) -> str:
    kind = "-l" if name.startswith("--") else "-s"
    value = " -r -F" if name == "--config" or name in files else " -x -a 'text json'" if name == "--output" else ""
    return f"{kind} {name.lstrip('-')}{value} -d '{help_text}'"
