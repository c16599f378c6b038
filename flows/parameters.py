"""Flow parameters: described by their types, in the order of forms, in records, forwarded."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

if TYPE_CHECKING:  # a command reads the project file before it imports Prefect
    from prefect import Flow

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Record = TypeVar("Record", bound=BaseModel)


# The default of a parameter that needs a value, unless the project file has one.
REQUIRED: Any = object()


def described(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Write the `Args` section of a flow's docstring from its types; apply `REQUIRED`.

    Prefect's form, `--help` and the reference are made from signature and docstring. Prefect takes
    no description from a type: https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/utilities/callables.py

    Raises:
        TypeError: If the type of a parameter has no description.
    """
    arguments = [
        f"    {name}: {_description(hint, name)}"
        for name, hint in get_type_hints(function, include_extras=True).items()
        if name != "return"
    ]
    head, returns, tail = inspect.cleandoc(function.__doc__ or "").partition("Returns:")
    function.__doc__ = "\n".join([f"{head.rstrip()}\n\nArgs:", *arguments, "", returns + tail])
    _require_values(function)
    return function


def _require_values(function: Callable[..., Any]) -> None:
    """Take away the defaults that are `REQUIRED`, of the first parameters."""
    given: Any = function
    defaults = given.__defaults__ or ()
    required = sum(value is REQUIRED for value in defaults)
    if any(value is REQUIRED for value in defaults[required:]):
        raise TypeError(f"{function.__name__}: REQUIRED after another default; expected it before")
    given.__defaults__ = defaults[required:]


def _description(hint: Any, name: str) -> str:
    for found in reversed(getattr(hint, "__metadata__", ())):
        if isinstance(found, FieldInfo) and found.description:
            return found.description
    raise TypeError(f"{name}: its type has no description; expected Field(description=…)")


def form(
    *first: str, last: Collection[str] = ()
) -> Callable[["Flow[Parameters, Result]"], "Flow[Parameters, Result]"]:
    """Let the forms of Prefect's UI begin with some parameters of a flow and end with others.

    A form has no groups; it has the order of the signature of the flow. Calls and commands keep the
    order of its function.

    Args:
        first: What one needs to fill in, in this order.
        last: What experts alone change.
    """

    def reorder(flow: "Flow[Parameters, Result]") -> "Flow[Parameters, Result]":
        signature = inspect.signature(flow.fn)
        if unknown := {*first, *last} - signature.parameters.keys():
            raise TypeError(f"{flow.name}: no parameters {sorted(unknown)}; expected those it has")
        named = {name: place for place, name in enumerate(first)}
        ordered = sorted(
            # By name alone: the required ones need not come first.
            (p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()),
            key=lambda p: (p.name in last, named.get(p.name, len(named))),
        )
        shown: Any = flow
        shown.__signature__ = signature.replace(parameters=ordered)
        return flow

    return reorder


def record_from(record: type[Record], given: Mapping[str, Any]) -> Record:
    """Return a record whose fields have the values of the parameters of the same names."""
    return record(**{name: given[name] for name in record.model_fields if name in given})


def arguments_for(flow: "Flow[..., Any]", given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a flow has parameters of the same names for."""
    return {name: given[name] for name in inspect.signature(flow.fn).parameters if name in given}
