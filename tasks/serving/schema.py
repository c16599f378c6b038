"""The OpenAPI schema: what the application answers, and the bodies and headers that it reads."""

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from tasks.common.parameter_types import about
from tasks.serving.protocol import DEADLINE_HEADER, JSON, LEAST_DEADLINE, Body

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


class Response(BaseModel):
    """What the model predicts of a text."""

    prediction_label: str
    prediction_score: Annotated[float, about("Probability of the label.")]
    prediction_scores: Annotated[
        dict[str, float] | None, about("Probability of each label, with all_scores.")
    ] = None


class RowError(BaseModel):
    """Why a text has no answer."""

    step: Annotated[str, about("validate, lookup, rules, language or predict.")]
    reason: str


class TextAnswer(BaseModel):
    """The answer to a text, with its provenance."""

    response: Annotated[Response | None, about("Null if the text has no answer.")]
    error: Annotated[RowError | None, about("There if the text has no answer.")] = None
    decision: Annotated[
        dict[str, Any] | None, about("What the rules decide, if the version has rules.")
    ] = None
    metadata: Annotated[
        dict[str, Any], about("Language, truncation, and whether the answer was computed before.")
    ]
    model_metadata: Annotated[dict[str, Any], about("The versions that answered.")]


class ClassifyAnswer(BaseModel):
    """What `/classify` answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answers": [
                        {
                            "response": {
                                "prediction_label": "positive",
                                "prediction_score": 0.97,
                            },
                            "metadata": {
                                "language_detected": "en",
                                "language_reliable": True,
                                "language_probability": 0.99,
                                "truncated": False,
                                "cached": False,
                            },
                            "model_metadata": {
                                "finetuned_model_uri": "models:/dl_finetuned_model/3",
                                "inference_pipeline_model_uri": "models:/m-0123",
                            },
                        }
                    ]
                }
            ]
        }
    )

    answers: Annotated[list[TextAnswer], about("One for each text, in their order.")]


class Prediction(BaseModel):
    """The answer to a row in MLflow's protocol."""

    text: Annotated[str, about("The answer as JSON, as `predict` of the model returns it.")]


class InvocationsAnswer(BaseModel):
    """What `/invocations` answers."""

    predictions: Annotated[list[Prediction], about("One for each row, in their order.")]


class Problem(BaseModel):
    """Why a request is refused."""

    error: Annotated[str, about("In one line, without the texts of the request.")]


class Health(BaseModel):
    """What answers, and what became of the last look at the registry."""

    status: Annotated[
        str,
        about(
            "ok; degraded: the version that is wanted cannot be loaded, and the one before answers;"
            " starting: none is loaded yet."
        ),
    ]
    wanted: Annotated[str, about("The alias or version that is served.")]
    versions: Annotated[list[str], about("What answers: a version, or the two of a split.")]
    since: Annotated[str | None, about("When they began to, ISO 8601.")]
    swaps: Annotated[int, about("How often another version took over.")]
    error: Annotated[str, about("Why the version that is wanted does not answer; else empty.")]
    line_texts: Annotated[int, about("Texts in the line.")]
    expected_seconds: Annotated[float, about("How long a request is expected to wait.")]


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
