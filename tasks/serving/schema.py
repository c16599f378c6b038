"""The OpenAPI schema of what the application reads by itself: bodies and headers."""

from typing import Any

from fastapi import FastAPI

from tasks.serving.answers import Problem
from tasks.serving.protocol import Body
from tasks.serving.server import DEADLINE_HEADER, JSON, LEAST_DEADLINE

_PROBLEMS = {
    400: "The body is not as expected.",
    401: "The token is missing.",
    408: "The body did not arrive within the deadline.",
    413: "The body is too long.",
    415: "The body is no JSON.",
    500: "The model failed on every text.",
    503: "The line is too long, or no version is loaded; Retry-After has the seconds.",
    504: "The deadline has passed.",
}

_REFERENCE = "#/components/schemas/{model}"


def described(body: type[Body], answer: type[Any]) -> dict[str, Any]:
    """Return what FastAPI is told of a path that answers bodies of a kind.

    The application reads them itself: FastAPI would parse JSON in Python first, and quote the
    texts of a body in its errors.
    """
    return {
        "response_model": answer,
        "responses": {
            status: {"model": Problem, "description": why} for status, why in _PROBLEMS.items()
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": {"$ref": _REFERENCE.format(model=body.__name__)}}},
            },
            "parameters": [
                {
                    "name": DEADLINE_HEADER,
                    "in": "header",
                    "required": False,
                    "schema": {"type": "number", "minimum": LEAST_DEADLINE},
                    "description": (
                        "Seconds within which the request is to be answered, if they are fewer "
                        "than those of the server."
                    ),
                }
            ],
        },
    }


def describe_bodies(app: FastAPI, *bodies: type[Body]) -> None:
    """Add the schemas of bodies to that of an application."""
    schema = app.openapi()
    for body in bodies:
        own = body.model_json_schema(ref_template=_REFERENCE)
        schema["components"]["schemas"] |= own.pop("$defs", {}) | {body.__name__: own}
