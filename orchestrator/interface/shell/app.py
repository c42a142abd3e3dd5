"""The shell: IPython with the verbs as names, a prompt that shows the cluster, and errors of one line."""

from __future__ import annotations

import builtins
import html
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core import interrupts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import NextStep, Text
from orchestrator.interface.console import Console
from orchestrator.interface.render import units
from orchestrator.interface.shell import completer, mistyped, prompt_verbs
from orchestrator.interface.shell.prompt_verbs import DisplayFilter, PromptVerb
from orchestrator.interface.shell.status_poller import StatusPoller
from orchestrator.interface.verbs import help as verb_help
from orchestrator.interface.verbs.interaction import Interrupted
from orchestrator.interface.verbs.registry import VerbRegistry, default_registry

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace

EXIT_STATUS_TIMEOUT_S = 4.0
"""On exit, wait this long for what still runs before the last known answer has to do."""

COMPLETION_STALE_S = 30.0

_workspaces: list[Workspace] = []


def start(workspace: Workspace, registry: VerbRegistry, *, version: str) -> int:
    """Run the shell until the user exits; then report what still runs and what it costs.

    :raises ConfigError: the config file holds mistakes.
    """
    # Before IPython, which is slow to import: a config file with mistakes opens no shell at all.
    settings = workspace.settings(files=False)
    from IPython.terminal.ipapp import TerminalIPythonApp
    from traitlets.config import Config

    config = Config()
    config.TerminalInteractiveShell.banner1 = banner(workspace, registry, version)
    # IPython's own lines would push the cluster's off the screen.
    config.TerminalInteractiveShell.enable_tip = False
    config.TerminalInteractiveShell.confirm_exit = False
    config.TerminalInteractiveShell.term_title_format = f"Stratus {settings.cluster.name}"
    app = TerminalIPythonApp.instance(config=config)
    # An empty list, or IPython would parse the words of this program's own command line.
    app.initialize([])
    shell = IPythonShell(app.shell, workspace, registry)
    shell.take_prompt()
    app.start()
    shell.leave()
    return 0


def _without_interrupt(read: Callable[[], str], session: Any, console: Console) -> Callable[[], str]:
    """Return a function that reads input; Ctrl-C is an empty line there, and an ending signal the end of the input.

    :param session: of prompt_toolkit; None without it.
    """

    def end_input() -> None:
        # An exception in the middle of its event loop would leave the terminal without echo.
        if session is None or not session.app.is_running:
            raise EOFError
        session.app.loop.call_soon_threadsafe(exit_app)

    def exit_app() -> None:
        if not session.app.is_done:
            session.app.exit(exception=EOFError)

    def read_or_nothing() -> str:
        # The verb before was interrupted by it.
        if interrupts.ending_signal():
            raise EOFError
        try:
            with interrupts.ending_signals_call(end_input):
                return read()
        except KeyboardInterrupt:
            # The next prompt begins a line of its own.
            console.print("")
            return ""

    return read_or_nothing


def banner(workspace: Workspace, registry: VerbRegistry, version: str) -> str:
    """Return the lines that the shell begins with."""
    settings = workspace.settings(files=False)
    width = shutil.get_terminal_size().columns
    cloud = settings.aws.banner or settings.aws.label
    names = [f"cluster {settings.cluster.name}", f"config {workspace.config}"]
    facts = [f"Stratus {version}", cloud, settings.aws.region, *names]
    steps = [verb.name for verb in registry.steps]
    lines = [*units.filled(facts, "  ", width), *units.filled(["Verbs:", *steps, "  more: Help()"], " ", width)]
    return "\n".join(lines) + "\n"


class IPythonShell:
    """The verbs in one IPython, and all that was changed there for them.

    :param ip: IPython's own shell object, of a terminal or of a notebook.
    """

    # Typed loosely: the shells of terminals and notebooks have no typed surface in common.
    def __init__(self, ip: Any, workspace: Workspace, registry: VerbRegistry) -> None:
        self.ip = ip
        self.workspace = workspace
        self.registry = registry
        _workspaces.append(workspace)
        self.display = DisplayFilter(workspace, self._display_records)
        self.poller = StatusPoller(self._status, self._on_status, workspace.clock)
        self._has_prompt = self._has_greeted = False
        # Kernels of notebooks have one; the shells of terminals have not.
        if getattr(ip, "kernel", None) is not None:
            workspace.console.show_html = _display_html
        self.names = prompt_verbs.namespace(
            workspace, registry, after=prompt_verbs.after_verb(self.poller, self.display)
        )
        # In builtins, so that %reset, which empties the user's own namespace, leaves the verbs.
        for name, verb in self.names.items():
            setattr(builtins, name, verb)
        _show_errors_in_a_line(ip, workspace.console, registry)
        ip.events.register("pre_run_cell", self.display.forget)
        # `?` consults these before its own description of an object.
        ip.inspector.mime_hooks |= {"text/plain": _explained, "text/html": _explained_in_html}
        self._matcher = completer.matcher(self.names, registry, {"host": self._hosts, "run": self._runs})
        ip.Completer.custom_matchers.append(self._matcher)

    def _display_records(self, record_class: type) -> None:
        """Register a class whose records are shown as text when they are named at the prompt."""
        self.ip.display_formatter.ipython_display_formatter.for_type(record_class, self.display.display)

    def take_prompt(self) -> None:
        """Show the cluster in the prompt; the first request is made when it is drawn, so that it appears at once."""
        from orchestrator.interface.render import cluster

        self._has_prompt = True
        self.ip.prompts = prompts(self.ip, lambda: cluster.prompt(self.workspace.label, self.poller.status))
        # IPython's own key binding for Ctrl-C is missing on a dumb terminal.
        self.ip.prompt_for_code = _without_interrupt(self.ip.prompt_for_code, self.ip.pt_app, self.workspace.console)
        # Python's own `help` without parentheses describes Python's help; `help(x)` stays as it is.
        self.ip.display_formatter.ipython_display_formatter.for_type(type(help), self._show_verbs)
        # Without prompt_toolkit, nothing is drawn that could trigger the first request.
        if self.ip.pt_app is None:
            self.poller.refresh()
        else:
            self.ip.pt_app.app.after_render += self._refresh_once

    def _show_verbs(self, _help: object) -> None:
        self.workspace.console.print(verb_help.overview(self.registry))

    def _refresh_once(self, app: Any) -> None:
        # It fires at every key that is pressed; only the first time is the start.
        app.after_render -= self._refresh_once
        self.poller.refresh()

    def _status(self) -> Any:
        return self.workspace.session(files=False).cluster.status()

    def _on_status(self, poller: StatusPoller) -> None:
        if not self._has_prompt:
            return
        # After the first answer only: what is up is news once, and in the prompt from then on.
        if not self._has_greeted:
            self._has_greeted = True
            self._greet(poller)
        session = getattr(self.ip, "pt_app", None)
        if session is not None:
            from prompt_toolkit.formatted_text import PygmentsTokens

            # IPython computes the prompt once per input; this is how a later answer gets into it.
            session.message = PygmentsTokens(self.ip.prompts.in_prompt_tokens())
            session.app.invalidate()

    def _greet(self, poller: StatusPoller) -> None:
        from orchestrator.interface.render import cluster
        from orchestrator.interface.render.billed import managed, stopped
        from orchestrator.interface.render.styles import line

        console = self.workspace.console
        if poller.error is not None:
            return console.print_error(poller.error.lines())
        if poller.status is not None and poller.status.instances:
            console.print(line("  ", cluster.up(poller.status)))
            max_hours = self.workspace.settings(files=False).cluster.max_hours
            console.print_error(stopped.reminder(poller.status, max_hours))
        if poller.status is not None:
            console.print(managed.left(poller.status.managed))
        return self._show_unfinished_launches()

    def _show_unfinished_launches(self) -> None:
        """Report what an earlier shell left unfinished; makes no API call when the journal holds nothing open."""
        from orchestrator.cluster.recovery import has_open_launches
        from orchestrator.interface.render import launch

        console = self.workspace.console
        try:
            if not has_open_launches(self.workspace.home, self.workspace.clock):
                return
            if launches := self.workspace.session(files=False).cluster.interrupted_launches():
                console.print_error(launch.interrupted(launches, self.workspace.clock.now()))
        except StratusError as error:
            console.print_error(error.lines())

    def _hosts(self) -> Iterable[str]:
        # Not for ever: Tab has to answer even when the network does not.
        if self.poller.age_s > COMPLETION_STALE_S:
            self.poller.refresh(wait_s=1.0)
        return [machine.name for machine in self.poller.status.instances] if self.poller.status else []

    def _runs(self) -> Iterable[str]:
        # Those that were started or fetched here: a question to the VMs would make Tab wait.
        return sorted((path.parent.name for path in Path("runs").glob("*/record.json")), reverse=True)

    def leave(self) -> None:
        """Report what still runs, and remove everything that was added to IPython."""
        from orchestrator.interface.render import cluster

        console = self.workspace.console
        # The last answer may be minutes old, and this is the last chance to notice what costs money.
        self.poller.refresh(wait_s=EXIT_STATUS_TIMEOUT_S)
        if self.poller.status is not None:
            console.print(cluster.leaving(self.poller.status, self._command("TerminateAll")))
        # As well as the last known answer: after an error that one may be out of date.
        if self.poller.error is not None:
            console.print_error("Cannot tell what still runs:")
            console.print_error([*self.poller.error.lines(), f"  {self._command('Status')}  asks again"])
        self.remove()

    def _command(self, verb: str) -> str:
        return self.registry.as_command(NextStep(verb), self.workspace.console.program)

    def remove(self) -> None:
        """Remove the verbs from this IPython."""
        for name, verb in self.names.items():
            # A name that was assigned to since is the user's.
            if getattr(builtins, name, None) is verb:
                delattr(builtins, name)
        self.ip.set_custom_exc((), None)
        self.ip.Completer.custom_matchers.remove(self._matcher)
        self.ip.events.unregister("pre_run_cell", self.display.forget)
        _workspaces.remove(self.workspace)
        self.workspace.close()


def current_workspace() -> Workspace:
    """Return the workspace of the shell, or of a notebook's extension; without one, that of the present folder."""
    from orchestrator.interface.workspace import Workspace

    if not _workspaces:
        _workspaces.append(Workspace(None, Console(), REAL_CLOCK))
    return _workspaces[-1]


def _show_errors_in_a_line(ip: Any, console: Console, registry: VerbRegistry) -> None:
    def line_on(error: Any) -> str:
        """Return the line on a mistyped verb; other mistakes in Python keep what IPython shows."""
        if isinstance(error, NameError):
            return mistyped.unknown_name(error.name or "", ip.history_manager.input_hist_raw[-1], registry)
        return mistyped.command_at_prompt(error.text or "", registry)

    def show(ip: Any, kind: type, error: Any, trace: Any, **_options: Any) -> Any:
        lines: Sequence[Text] = []
        if isinstance(error, NameError | SyntaxError):
            lines = [text] if (text := line_on(error)) else []
        else:
            lines = error.lines() if isinstance(error, StratusError) else list(error.lines)
        if not lines:
            return _show_as_ipython_does(ip, kind, error, trace)
        console.print_error(lines)
        # IPython takes a list of strings for the traceback, and disables a handler that returns anything else.
        return [str(error)]

    # One handler for all of them, because IPython has room for one only.
    ip.set_custom_exc((StratusError, Interrupted, NameError, SyntaxError), show)


def _show_as_ipython_does(ip: Any, kind: type, error: Exception, trace: Any) -> Any:
    if isinstance(error, IndentationError):
        return ip.showindentationerror()
    if isinstance(error, SyntaxError):
        return ip.showsyntaxerror()
    return ip.showtraceback((kind, error, trace), tb_offset=1, running_compiled_code=True)


def _display_html(markup: str, text: str) -> None:
    from IPython.display import display

    # Front ends without HTML, and exports to text, take the plain one.
    display({"text/html": markup, "text/plain": text}, raw=True)


def _explained(request: Any) -> list[tuple[str, str]] | None:
    """Return what ``?`` shows of a verb; of anything else IPython's own answer stays."""
    verb = request.obj
    if not isinstance(verb, PromptVerb):
        return None
    width = shutil.get_terminal_size().columns
    rows = ["".join(row) for text in (verb.__doc__ or "").split("\n") for row in verb_help.wrapped(text, width)]
    return [("Call", verb.call), ("What", "\n" + "\n".join(rows) + "\n")]


def _explained_in_html(request: Any) -> list[tuple[str, str]] | None:
    parts = _explained(request)
    return parts and [(title, f"<pre>{html.escape(body.strip())}</pre>") for title, body in parts]


def prompts(ip: Any, text: Callable[[], str]) -> Any:
    """Return IPython's prompts with this text; answers stand without an ``Out[1]:``, as this prompt counts nothing."""
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


def load_into(ip: Any) -> IPythonShell:
    """Add the verbs to a running IPython or notebook: ``%load_ext orchestrator``."""
    from orchestrator.interface.workspace import Workspace

    return IPythonShell(ip, Workspace(None, Console(can_ask=True), REAL_CLOCK), default_registry())
