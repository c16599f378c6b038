"""Types of a delivery: its target, its flow parameters and what became of a shard."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator

from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about

LEDGER = "millstream_deliveries"

_SOURCE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9_]{1,63}")  # PostgreSQL cuts longer names

# An address may have been given in place of a name, and has a password in it.
_HARMLESS = re.compile(r"[\w.-]{0,200}")


class DeliveryTarget(FrozenModel):
    """The table that a delivery goes to.

    Attributes:
        source: The name of the database, as `require_address` takes it.
        table: The table.
        schema_name: Its schema; None for the one that the database takes for the name.
    """

    source: str
    table: str
    # Not an empty text, which is one object in all results: Prefect would draw an edge from a task
    # that returned one to each that gets this target.
    schema_name: str | None = None

    @classmethod
    def parse(cls, parameter: str, text: str) -> Self:
        """Return the target that `crm.predictions` or `crm.public.predictions` names.

        Args:
            parameter: The name of the parameter, for the error.
            text: Its value.

        Raises:
            ParameterError: If it has another form.
        """
        source, *names = text.split(".")
        if not _SOURCE.fullmatch(source) or len(names) not in (1, 2):
            raise _refused(parameter, text)
        if not all(_NAME.fullmatch(name) for name in names) or names[-1].lower() == LEDGER:
            raise _refused(parameter, text)
        return cls(source=source, table=names[-1], schema_name=names[0] if names[1:] else None)

    def __str__(self) -> str:
        return ".".join(filter(None, (self.source, self.schema_name, self.table)))


def _refused(parameter: str, text: str) -> ParameterError:
    shown = repr(text) if _HARMLESS.fullmatch(text) else "the value"
    return ParameterError(
        f"{parameter}: {shown} names no table; expected the name of a database and of a table, as "
        f"in crm.predictions or crm.public.predictions, and another table than {LEDGER}"
    )


def check_targets(deliver_to: str, deliver_rejects_to: str) -> None:
    """Check that predictions and rejected rows go to different tables.

    A shard has one set of rows in a table, so that each would replace the other.

    Raises:
        ParameterError: If both name one table.
    """
    if deliver_to and deliver_to.lower() == deliver_rejects_to.lower():
        raise ParameterError(
            f"deliver_rejects_to: {deliver_rejects_to!r} is the table of deliver_to; expected "
            "another one"
        )


def _check_form(parameter: str) -> AfterValidator:
    def check(text: str) -> str:
        if text:
            DeliveryTarget.parse(parameter, text)
        return text

    return AfterValidator(check)


DeliverTo = Annotated[
    str,
    _check_form("deliver_to"),
    about(
        "Table of a database that gets the predictions, as in crm.predictions; the address is in "
        "MILLSTREAM_SOURCE_CRM. Empty delivers nothing."
    ),
]
DeliverRejectsTo = Annotated[
    str,
    _check_form("deliver_rejects_to"),
    about("Table that gets the rejected rows, as in crm.rejected; empty delivers none."),
]


class Delivery(FrozenModel):
    """What became of the delivery of a shard.

    Attributes:
        shard: The shard's id.
        target: The table, as `deliver_to` names it.
        rows: Rows of the shard that the table has.
        skipped: Whether an earlier delivery did it.
        replaced: Values that the database cannot hold: a NUL character in a text is U+FFFD there,
            a number that is not finite or a date out of its range is null.
        error: Why it failed.
    """

    shard: str
    target: str
    rows: int = 0
    skipped: bool = False
    replaced: int = 0
    error: str = ""
