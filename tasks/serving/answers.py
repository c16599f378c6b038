"""The answers of online serving as its OpenAPI schema describes them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict

from tasks.common.parameter_types import about


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
