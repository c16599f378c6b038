"""The parameters of every flow are those of commit d319afc: `--help`, forms and API calls stay.

A deliberate change is made in the stored file as well. Descriptions are not stored.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from tests.support.every_flow import FLOWS

STORED = Path(__file__).with_name("flow_parameters_d319afc.json")


def schema_of(flow: Flow[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a flow's parameters, as Prefect gives it to forms and checks."""
    schema: dict[str, Any] = json.loads(parameter_schema(flow.fn).model_dump_json())
    return schema


def stored_schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    return schemas


def without_descriptions(schema: Any) -> Any:
    """Return the schema without descriptions, and each property with its name, to keep order."""
    properties = [
        (name, {key: value for key, value in field.items() if key != "description"})
        for name, field in schema["properties"].items()
    ]
    return schema | {"properties": properties}


def test_flows_have_the_stored_names() -> None:
    assert [flow.name for flow in FLOWS] == list(stored_schemas())


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_parameters_keep_names_order_types_bounds_and_defaults(flow: Flow[..., Any]) -> None:
    stored = stored_schemas()[flow.name]
    assert without_descriptions(schema_of(flow)) == without_descriptions(stored)
