"""`python -m benchmarks.serving.plain_server`: the pipeline of transformers behind FastAPI.

It is what one writes first: a pipeline in float32, and an endpoint in FastAPI's pool of threads.
"""

import argparse
from typing import Any

import transformers
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    """A request for the label of a text."""

    text: str


def build_app(classifier: str, max_tokens: int) -> FastAPI:
    """Return the application of a fine-tuned model.

    Args:
        classifier: Folder of the model and its tokenizer.
        max_tokens: Longer texts are truncated to this many tokens.
    """
    classify: Any = transformers.pipeline("text-classification", model=classifier)
    app = FastAPI()

    @app.post("/predict")
    def predict(request: Request) -> Any:
        (found,) = classify(request.text, truncation=True, max_length=max_tokens)
        return found

    @app.get("/ping")
    def ping() -> str:
        return ""

    return app


def main() -> None:
    """Serve a model until the process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    app = build_app(given.classifier, given.max_tokens)
    uvicorn.run(app, port=given.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
