"""Any flow as a command: `python -m flows.NAME --help`.

The exit code is 0, that of the error in `tasks.common.errors`, or `INTERRUPTED`.
"""

import copy
import gc
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Parameter
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.logging.configuration import setup_logging
from prefect.settings import PREFECT_API_URL
from pydantic import BaseModel, ValidationError

from flows.parameters import record_from
from flows.server.temporary import use_temporary_server, without_heartbeats
from tasks.common.environment import check_environment
from tasks.common.errors import INTERRUPTED, MillstreamError, ParameterError, StoppedError
from tasks.common.settings import get_settings
from tasks.common.text import printable
from tasks.tracking.location import check_location

# Prefect's words for what ends since its run does, and is no cause; it calls most of it a crash.
_ENDED_WITH_THE_RUN = (
    "Execution was aborted by an interrupt signal.",
    "CancelledError: Task run cancelled by the task runner",
    f"Task run encountered an exception {StoppedError.__name__}:",
)


def run(
    flow: Flow[..., Any],
    *,
    request: type[BaseModel] | None = None,
    check: Callable[[Mapping[str, Any]], object] | None = None,
    orchestrates: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    continues: str = "",
) -> NoReturn:
    """Run a flow with the parameters in `sys.argv` and exit.

    The flow's signature and docstring define the options; an error is one line on standard
    error, after its traceback if `--debug` is given.

    Args:
        flow: The flow.
        request: The record by which the flow checks its parameters together, so that they are
            refused before a server is started.
        check: Checks the parameters against what MLflow has, also before a server is started.
        orchestrates: Returns whether a run with these parameters needs Prefect. One that does not
            is a flow run if a server is named, and a call of the flow's function if none is; its
            tasks are `tasks.common.task_errors.Step`.
        continues: Where the same command continues after an interruption; empty if it does not.
    """

    def call(tokens: Sequence[str]) -> None:
        parameters = parse(flow, tokens)
        if request is not None:
            record_from(request, _defaults_of(flow) | parameters)
        check_location(get_settings())
        if check is not None:
            check(parameters)
        if orchestrates(parameters) or PREFECT_API_URL.value():
            try:
                _run_flow(flow, parameters)
            except KeyboardInterrupt as interruption:
                resumes = continues and parameters.get("resume", True)
                said = f"; the same command continues {continues}" if resumes else ""
                raise KeyboardInterrupt(said) from interruption
        else:
            _import_heavy_modules()
            _leave_imports_uncollected()
            flow.fn(**flow.validate_parameters(parameters))

    _run(flow.fn, call)


def run_without_server(command: Flow[..., Any] | Callable[..., object]) -> NoReturn:
    """Run a function, or a flow that orchestrates nothing, as `run` does, and exit."""
    if isinstance(command, Flow):
        run(command, orchestrates=lambda _: False)
    function = command

    def call(tokens: Sequence[str]) -> None:
        parameters = parse(function, tokens)
        _leave_imports_uncollected()
        function(**parameters)

    _run(function, call)


def _run(function: Callable[..., object], call: Callable[[Sequence[str]], object]) -> NoReturn:
    app = _app(function)

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        debug: Annotated[bool, Parameter(negative=())] = False,
    ) -> int:
        """Run the flow.

        Args:
            tokens: Options of the flow.
            debug: Show the traceback of an error.
        """
        return _exit_code(lambda: call(tokens), debug=debug)

    code = app.meta(sys.argv[1:])
    gc.freeze()  # Python would search all modules for garbage as it ends, for a second
    sys.exit(code)


def parse(command: Flow[..., Any] | Callable[..., object], tokens: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a flow or function as the options in `tokens` give them, checked.

    Raises:
        ParameterError: If one is missing, unknown or out of bounds.
    """
    function = command.fn if isinstance(command, Flow) else command
    try:
        _, bound, _ = _app(function).parse_args(tokens, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise ParameterError(_in_one_line(error)) from error
    parameters = dict(bound.arguments)
    if isinstance(command, Flow):
        _validate(command, parameters)
    return parameters


def _defaults_of(flow: Flow[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(flow.fn).parameters.items()
    return {name: p.default for name, p in parameters if p.default is not p.empty}


def _app(function: Callable[..., object]) -> App:
    app = App(
        name=f"python -m {_module_of(function)}",
        version_flags=(),
        default_parameter=Parameter(
            consume_multiple=True, negative_iterable=(), show_default=_shown_default
        ),
    )
    app.default(function)
    return app


def _module_of(function: Callable[..., object]) -> str:
    """Return the module that is the command: it has the function's name."""
    room = "deployments" if "deployments" in Path(inspect.getfile(function)).parts else "flows"
    return f"{room}.{function.__name__}"


def _shown_default(value: object) -> object:
    """Return a default as the help shows it; a tuple is a list to who types it."""
    if isinstance(value, tuple):
        return list(value)
    return '""' if value == "" else value


def _run_flow(flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
    if PREFECT_API_URL.value():
        _import_heavy_modules()
        context: AbstractContextManager[object] = nullcontext()
    else:
        use_temporary_server(meanwhile=_open_mlflow)
        context = without_heartbeats()
    _leave_imports_uncollected()
    with context:
        flow(**parameters)


def _import_heavy_modules() -> None:
    """Import MLflow and pandas, which every flow needs, as it would a moment later."""
    import tasks.tracking.pipeline_loader  # noqa: F401


def _open_mlflow() -> None:
    """Do what every flow begins with: it takes two seconds, and longer on a new database."""
    _import_heavy_modules()
    from tasks.tracking.mlflow_client import connect

    connect()


def _leave_imports_uncollected() -> None:
    """Let the search for garbage pass over what is there: modules, which stay."""
    gc.freeze()


def _exit_code(call: Callable[[], object], *, debug: bool) -> int:
    setup_logging()  # else the first flow run would make other handlers
    for handler in _terminal_handlers():
        handler.format = partial(_as_printable, handler.format)  # type: ignore[method-assign]
    if not debug:
        _hide_tracebacks()
    try:
        check_environment()
        call()
    except KeyboardInterrupt as interruption:
        return _say(f"interrupted{interruption}", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 -- the outermost frame: whatever it is, one line
        if debug:
            traceback.print_exc()
        reason = " ".join(str(error).split())
        if isinstance(error, MillstreamError):
            return _say(reason, error.exit_code)
        named = ": ".join(filter(None, (type(error).__name__, reason)))
        return _say(named if debug else f"{named} (--debug shows where)", 1)
    return 0


def _validate(flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
    """Check parameters against each other and their bounds, before a server is started.

    Raises:
        ParameterError: If one is out of bounds.
    """
    try:
        flow.validate_parameters(parameters)
    except ParameterTypeError as error:
        lines = [line.strip(" -") for line in str(error).splitlines()[1:] if line.strip()]
        raise ParameterError("; ".join(lines)) from error


def _in_one_line(error: CycloptsError) -> str:
    reason = error.__cause__
    if isinstance(reason, ValidationError) and error.argument is not None:
        found = reason.errors()[0]
        return f"{error.argument.name}: {found['msg']}, got {found['input']!r}"
    return " ".join(str(error).split())


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"error: {printable(message)}\n")
    return code


def _hide_tracebacks() -> None:
    """Keep Prefect's tracebacks off the terminal; its server still gets them."""
    for handler in _terminal_handlers():
        handler.addFilter(_is_not_said_again)
        handler.format = partial(_without_traceback, handler.format)  # type: ignore[method-assign]


def _terminal_handlers() -> set[logging.Handler]:
    """Return the handlers of all loggers that write to a stream; some do not propagate."""
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = {
        handler
        for logger in known
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    }
    return {found for found in handlers if isinstance(found, logging.StreamHandler)}


def _is_not_said_again(record: logging.LogRecord) -> bool:
    """Drop what Prefect says of a flow's error, of an interruption and of its events."""
    said = record.getMessage()
    if said.startswith("Still processing items") or any(end in said for end in _ENDED_WITH_THE_RUN):
        return False
    return not (
        record.name.startswith("prefect.flow_runs")
        and said.startswith(("Encountered exception", "Finished in state Failed"))
    )


def _without_traceback(
    layout: Callable[[logging.LogRecord], str], record: logging.LogRecord
) -> str:
    # A copy: other handlers get the same record.
    record = copy.copy(record)
    record.exc_info = record.exc_text = None
    return layout(record)


def _as_printable(layout: Callable[[logging.LogRecord], str], record: logging.LogRecord) -> str:
    return printable(layout(record))
