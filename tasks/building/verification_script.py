"""Load a logged model without the project's code, and predict with it.

    python -I verification_script.py MODEL_URI QUESTION.json ANSWER.json

Run by `tasks/building/verification.py`. `-I` keeps the repository, the working folder and
PYTHONPATH off `sys.path`, so that code missing in the artifact fails the import.
"""

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd

_BATCH_TOKENS = 1_024


def main(model_uri: str, question: Path, answer: Path) -> None:
    """Predict the texts in `question` without the cache and write the answers to `answer`."""
    texts = json.loads(question.read_text(encoding="utf-8"))
    model = mlflow.pyfunc.load_model(model_uri)
    try:
        answers = model.predict(pd.DataFrame({"text": texts}), params={"use_cache": False})
        documents = answers["text"].tolist()
        # Rows without look-ups may be refused: what is compared is the model that they surround.
        if inner := getattr(model.unwrap_python_model().pipeline, "inner", None):
            documents = inner.predict(texts, use_cache=False, batch_tokens=_BATCH_TOKENS)
    except Exception as error:  # noqa: BLE001 -- any message may quote a text
        sys.exit(f"{type(error).__name__} while predicting")
    answer.write_text(json.dumps(documents), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
