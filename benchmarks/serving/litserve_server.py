"""`python -m benchmarks.serving.litserve_server`: LitServe with its batches on our engine."""

import argparse
from pathlib import Path
from typing import Any

import litserve

# The size is that of the documentation's example, whose 0.1 s a lone request would wait for. On two
# busy cores no time and this size answered more than 16 or 32, and than 0.01 s.
_BATCH_SIZE = 8
_BATCH_TIMEOUT_S = 0.0


class ClassifierApi(litserve.LitAPI):  # type: ignore[misc]
    """Labels texts with the tokenizer and engine of a pipeline's member."""

    def __init__(self, given: argparse.Namespace) -> None:
        super().__init__(max_batch_size=_BATCH_SIZE, batch_timeout=_BATCH_TIMEOUT_S)
        self._given = given
        self._classifier: Any = None

    def setup(self, device: str) -> None:
        """Load the engine; LitServe calls it in its worker."""
        from pyfunc.classifier import Classifier
        from pyfunc.engines.selection import open_engine
        from pyfunc.spec import Variant

        member: Path = self._given.member
        self._classifier = Classifier(
            member / "classifier",
            open_engine(member, Variant(self._given.engine, self._given.precision)),
            max_tokens=self._given.max_tokens,
        )

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text of a request."""
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        """Return the texts of a batch as they are."""
        return inputs

    def predict(self, x: list[str]) -> list[dict[str, Any]]:
        """Return label and score of each text of a batch."""
        return [
            {"label": found.label, "score": found.score} for found in self._classifier.predict(x)
        ]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers of a batch, one for each request."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return an answer as it is."""
        return output


def main() -> None:
    """Serve a member until the process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--member", type=Path, required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    server = litserve.LitServer(ClassifierApi(given), accelerator="cpu", healthcheck_path="/ping")
    server.run(host="127.0.0.1", port=given.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
