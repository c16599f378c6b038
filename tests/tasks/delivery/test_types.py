"""What names a table, and what does not."""

import pytest

from tasks.common.errors import ParameterError
from tasks.delivery.types import DeliveryTarget, check_targets


@pytest.mark.parametrize(
    ("text", "schema", "table"),
    [
        ("crm.predictions", None, "predictions"),
        ("crm.public.predictions", "public", "predictions"),
        ("crm_2.Sales.2026_Q1", "Sales", "2026_Q1"),
    ],
)
def test_target_has_a_source_a_schema_and_a_table(
    text: str, schema: str | None, table: str
) -> None:
    target = DeliveryTarget.parse("deliver_to", text)
    assert (target.schema_name, target.table) == (schema, table)
    assert str(target) == text
    assert DeliveryTarget.model_validate_json(target.model_dump_json()) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crm",
        "crm.",
        ".predictions",
        "crm..predictions",
        "CRM.predictions",
        "crm.a.b.c",
        "crm.predictions; drop table x",
        'crm."predictions"',
        "crm.prädikate",
        f"crm.{'a' * 64}",
        "crm.millstream_deliveries",
        "crm.public.Millstream_Deliveries",
        "crm.predictions\n",
    ],
)
def test_other_texts_name_no_table(text: str) -> None:
    with pytest.raises(ParameterError) as caught:
        DeliveryTarget.parse("deliver_to", text)
    assert str(caught.value).startswith("deliver_to: ")
    assert "expected the name of a database and of a table" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["postgresql://user:secret@host/db", "user:secret@host"])
def test_address_in_place_of_a_name_is_not_quoted(address: str) -> None:
    with pytest.raises(ParameterError) as caught:
        DeliveryTarget.parse("deliver_to", address)
    assert str(caught.value).startswith("deliver_to: the value names no table")
    assert "secret" not in str(caught.value)


def test_predictions_and_rejected_rows_need_two_tables() -> None:
    check_targets("crm.predictions", "crm.rejected")
    check_targets("", "")
    check_targets("", "crm.rejected")
    with pytest.raises(ParameterError, match="is the table of deliver_to; expected another one"):
        check_targets("crm.predictions", "crm.Predictions")
