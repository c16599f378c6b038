"""Select the steps of a flow to run, and check what the first of them starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.common.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Need:
    """What a step starts from: another step's result, or else a parameter."""

    step: str
    produced_by: str
    parameter: str


def choose_steps(
    steps: Sequence[str], order: Sequence[str], needs: Sequence[Need], given: Mapping[str, object]
) -> tuple[str, ...]:
    """Return the steps to run, in their order.

    Args:
        steps: Names out of `order`, or `all`.
        order: All steps, in the order in which they run.
        needs: What the steps start from.
        given: Values of the parameters that `needs` names; empty ones were not given.

    Raises:
        ParameterError: If none is named, a step has nothing to start from, or it has two things.
    """
    todo = tuple(step for step in order if "all" in steps or step in steps)
    if not todo:
        raise ParameterError(f"steps: none given; expected all, or some of {', '.join(order)}")
    for need in needs:
        if need.step not in todo:
            continue
        if need.produced_by not in todo and not given[need.parameter]:
            raise ParameterError(
                f"{need.parameter}: missing; the step {need.step} without {need.produced_by} "
                "starts from it"
            )
        if need.produced_by in todo and given[need.parameter]:
            raise ParameterError(
                f"{need.parameter}: given, but the step {need.produced_by} makes it anew; "
                f"expected steps without {need.produced_by}, or no {need.parameter}"
            )
    return todo
