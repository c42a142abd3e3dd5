"""The shell: IPython with the verbs as names, a prompt that knows what is up, and errors of one line."""

from __future__ import annotations

import builtins
import html
import re
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import ini
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.interface.console import Console
from orchestrator.interface.render import cluster, stopped, units
from orchestrator.interface.shell import prompt_verbs
from orchestrator.interface.shell.prompt_verbs import Shown, Verb
from orchestrator.interface.shell.status_poller import Pulse
from orchestrator.interface.verbs import registry
from orchestrator.interface.verbs.base import Interrupted
from orchestrator.interface.verbs.jobs import Verbs

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Desk

# On leaving, how long the cloud may take to say what still runs before the last known answer has to do.
LAST_LOOK_S = 4.0

_HOSTS = "Ssh|InstallDeps|RunSingleVMComputing|Logs|Run"
_RUNS = "Attach|JoinJob|CancelJob|FetchResults|Dashboard|Logs"
_IN_HOST = re.compile(
    rf"\b(?:(?:{_HOSTS})\([^()]*host\s*=\s*|(?:Ssh|InstallDeps|Gpus)\((?:[^()]*,)?\s*)([\"'])([\w.-]*)$"
)
_AT_WORD = re.compile(r"(?:^|[^\w.\"'])([A-Za-z]\w*)$")
_IN_RUN = re.compile(rf"\b(?:{_RUNS})\(\s*(?:run\s*=\s*)?([\"'])([\w.-]*)$")


# --- statements without a prompt


def run_statements(verbs: Verbs, statements: str) -> int:
    """Run statements as ``python -c`` would, the verbs being there by name.

    :return: 0, or 1 when the statements themselves went wrong; a verb's error is raised.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, **prompt_verbs.all_verbs(verbs)}
    try:
        code = compile(statements, "<statements>", "exec")
    except SyntaxError as error:
        where = f"statements line {error.lineno}"
        raise UsageError(f"{error.msg}: {(error.text or '').strip()}", where=where) from None
    try:
        exec(code, namespace)
    except StratusError:
        raise
    except Exception as error:
        # Their own code, so their own traceback, less the frame that is ours.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        verbs.console.complain("".join(traceback.format_exception(error)))
        return 1
    return 0


# --- the prompt


def start(verbs: Verbs, *, version: str) -> int:
    """Run the shell until the user leaves it, and say then what still runs and costs.

    :raises ConfigError: the config file holds mistakes.
    """
    settings = verbs.desk.settings(files=False)
    from IPython.terminal.ipapp import TerminalIPythonApp
    from traitlets.config import Config

    config = Config()
    config.TerminalInteractiveShell.banner1 = banner(verbs.desk, version)
    config.TerminalInteractiveShell.enable_tip = False
    config.TerminalInteractiveShell.confirm_exit = False
    config.TerminalInteractiveShell.term_title_format = f"Stratus {settings.cluster.name}"
    app = TerminalIPythonApp.instance(config=config)
    app.initialize([])
    place = Place(app.shell, verbs)
    place.take_prompt()
    app.start()
    place.leave()
    return 0


def banner(desk: Desk, version: str) -> str:
    """Return the lines that the shell begins with."""
    settings = desk.settings(files=False)
    width = shutil.get_terminal_size().columns
    cloud = settings.aws.banner or settings.aws.label
    named = [f"cluster {settings.cluster.name}", f"config {desk.config}"]
    facts = [f"Stratus {version}", cloud, settings.aws.region, *named]
    lines = [
        *units.filled(facts, "  ", width),
        *units.filled(["Verbs:", *prompt_verbs.MAIN, "  more: Help()"], " ", width),
    ]
    return "\n".join(lines) + "\n"


class Place:
    """The verbs in one IPython, and all that was changed there for them.

    :param ip: IPython's own shell object, of a terminal or of a notebook.
    """

    # Typed loosely: the shells of terminals and notebooks have no typed surface in common.
    def __init__(self, ip: Any, verbs: Verbs) -> None:
        self.ip = ip
        self.verbs = verbs
        self.shown = Shown(verbs.console, self._show)
        self.pulse = Pulse(self._ask, self._heard)
        self._greets = self._greeted = False
        self.names = prompt_verbs.all_verbs(verbs, self.pulse, self.shown)
        # In builtins, so that %reset, which empties the user's own namespace, leaves the verbs.
        for name, verb in self.names.items():
            setattr(builtins, name, verb)
        _show_errors_in_a_line(ip, verbs.console, self.names)
        ip.events.register("pre_run_cell", self.shown.forget)
        ip.inspector.mime_hooks |= {"text/plain": _explained, "text/html": _explained_in_html}
        self._matcher = matcher(self.names, self._hosts, self._runs)
        ip.Completer.custom_matchers.append(self._matcher)

    def _show(self, kind: type) -> None:
        """Have a kind of record shown in our words when it is named at the prompt."""
        if kind.__module__.startswith("orchestrator."):
            self.ip.display_formatter.ipython_display_formatter.for_type(kind, self.shown.display)

    def take_prompt(self) -> None:
        """Have the prompt say what is up; the first question is asked when it is drawn, so that nobody waits for it."""
        self._greets = True
        self.ip.prompts = prompts(self.ip, lambda: cluster.prompt(self.verbs.desk.label, self.pulse.status))
        if self.ip.pt_app is None:
            self.pulse.refresh()
        else:
            self.ip.pt_app.app.after_render += self._ask_once

    def _ask_once(self, app: Any) -> None:
        app.after_render -= self._ask_once
        self.pulse.refresh()

    def _ask(self) -> Any:
        return self.verbs.desk.session(files=False).cluster.status()

    def _heard(self, pulse: Pulse) -> None:
        if self._greets and not self._greeted:
            self._greeted = True
            self._first_words(pulse)
        session = getattr(self.ip, "pt_app", None)
        if session is not None and self._greets:
            from prompt_toolkit.formatted_text import PygmentsTokens

            # IPython works the prompt out once per input; this is how a later answer gets into it.
            session.message = PygmentsTokens(self.ip.prompts.in_prompt_tokens())
            session.app.invalidate()

    def _first_words(self, pulse: Pulse) -> None:
        if pulse.error is not None:
            self.verbs.console.complain(registry.for_shell(str(pulse.error)))
        elif pulse.status is not None and pulse.status.instances:
            self.verbs.console.say(f"  {cluster.up(pulse.status)}")
            hours = self.verbs.desk.settings(files=False).cluster.max_hours
            self.verbs.console.complain(stopped.reminder(pulse.status, hours))
        if pulse.error is None:
            self._left_over()

    def _left_over(self) -> None:
        """Say what an earlier sitting left in the middle; nobody is asked when it left nothing."""
        from orchestrator.cluster.recovery import has_open_launches
        from orchestrator.core.clock import REAL_CLOCK
        from orchestrator.interface.render import launch

        try:
            home = self.verbs.desk.home
            if has_open_launches(home, REAL_CLOCK) and (
                found := self.verbs.desk.session(files=False).cluster.interrupted_launches()
            ):
                self.verbs.console.complain(launch.leftovers(found, datetime.now(UTC)))
        except StratusError as error:
            self.verbs.console.complain(registry.for_shell(str(error)))

    def _hosts(self) -> Iterable[str]:
        if self.pulse.age > 30:
            self.pulse.refresh(wait=1.0)
        return [machine.name for machine in self.pulse.status.instances] if self.pulse.status else []

    def _runs(self) -> Iterable[str]:
        # What this computer knows: asking the VMs would make Tab wait.
        return sorted((path.parent.name for path in Path("runs").glob("*/record.json")), reverse=True)

    def leave(self) -> None:
        """Say what still runs, and let go of everything."""
        self.pulse.refresh(wait=LAST_LOOK_S)
        if self.pulse.status is not None:
            self.verbs.console.say(cluster.leaving(self.pulse.status, f"{self.verbs.console.program} terminate"))
        if self.pulse.error is not None:
            again = f"  {self.verbs.console.program} status  asks again"
            self.verbs.console.complain([f"Could not ask what still runs: {self.pulse.error}", again])
        self.remove()

    def remove(self) -> None:
        """Take the verbs out of this IPython again."""
        for name, verb in self.names.items():
            if getattr(builtins, name, None) is verb:
                delattr(builtins, name)
        self.ip.set_custom_exc((), None)
        self.ip.Completer.custom_matchers.remove(self._matcher)
        self.ip.events.unregister("pre_run_cell", self.shown.forget)
        self.verbs.desk.close()


def _show_errors_in_a_line(ip: Any, console: Console, names: Iterable[str]) -> None:
    def show(_ip: object, _kind: object, error: BaseException, _trace: object, **_: object) -> list[str]:
        text = str(error)
        if text:
            console.complain([registry.for_shell(line) for line in text.splitlines()])
        return [text]

    def mistyped(_ip: Any, kind: type, error: NameError, trace: Any, **_options: Any) -> Any:
        """A name that is nearly a verb's gets a line; other people's mistakes in Python keep their traceback."""
        guess = ini.suggest(error.name or "", [name for name in names if name[0].isupper()])
        if not guess:
            return ip.showtraceback((kind, error, trace), tb_offset=1, running_compiled_code=True)
        console.complain([f"{error.name}: no such verb.{guess}"])
        return [str(error)]

    def either(ip: Any, kind: type, error: Any, trace: Any, **options: Any) -> Any:
        return (mistyped if isinstance(error, NameError) else show)(ip, kind, error, trace, **options)

    ip.set_custom_exc((StratusError, Interrupted, NameError), either)


def _explained(asked: Any) -> list[tuple[str, str]] | None:
    """Return what ``?`` shows of a verb; of anything else IPython's own answer stays."""
    verb = asked.obj
    return [("Call", verb.typed), ("What", f"\n{verb.__doc__}\n")] if isinstance(verb, Verb) else None


def _explained_in_html(asked: Any) -> list[tuple[str, str]] | None:
    parts = _explained(asked)
    return parts and [(title, f"<pre>{html.escape(body.strip())}</pre>") for title, body in parts]


def prompts(ip: Any, text: Callable[[], str]) -> Any:
    """Return IPython's prompts with these words; answers stand without an ``Out[1]:``, as our prompt counts nothing."""
    from IPython.terminal.prompts import Prompts
    from pygments.token import Token

    class StratusPrompts(Prompts):
        """``rehearsal [2 up $0.73/h]:`` before an input."""

        def in_prompt_tokens(self) -> Any:
            label, bracket, rest = text().partition(" [")
            return [(Token.Prompt, label), (Token.PromptNum, f"{bracket}{rest}")]

        def continuation_prompt_tokens(self, width: int | None = None, **_: Any) -> Any:
            return [(Token.Prompt, "...: ".rjust(width or len(text())))]

        def out_prompt_tokens(self) -> Any:
            return []

    return StratusPrompts(ip)


def matcher(verbs: Iterable[str], hosts: Callable[[], Iterable[str]], runs: Callable[[], Iterable[str]]) -> Any:
    """Return IPython's idea of a completer: verbs, names of hosts inside ``Ssh("``, ids of runs inside ``Attach("``."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    def complete(context: Any) -> Mapping[str, Any]:
        before = context.text_until_cursor
        for pattern, names in ((_IN_HOST, hosts), (_IN_RUN, runs)):
            if found := pattern.search(before):
                typed = found[2]
                fitting = [SimpleCompletion(text=name, type="text") for name in names() if _fits(name, typed)]
                return {"completions": fitting, "suppress": True, "matched_fragment": typed, "ordered": True}
        # Builtins are nothing that jedi would look through.
        word = _AT_WORD.search(before)
        fitting = [SimpleCompletion(text=verb, type="function") for verb in verbs if word and verb.startswith(word[1])]
        return {"completions": fitting, "suppress": False, "matched_fragment": word[1] if word else ""}

    return context_matcher(priority=200, identifier="stratus")(complete)


def _fits(name: str, typed: str) -> bool:
    """Tell whether a name can be meant: by its beginning, or, of a run, by the beginning of its last part."""
    return name.startswith(typed) or name.rpartition("-")[2].startswith(typed)


# --- notebooks


def load_into(ip: Any) -> Place:
    """Give the verbs to a running IPython or notebook: ``%load_ext orchestrator``."""
    from orchestrator.interface.workspace import Desk

    return Place(ip, Verbs(Desk(None, Console(can_ask=True))))
