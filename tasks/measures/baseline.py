"""The baseline: a linear model on words and word pairs, which a fine-tuned model has to beat."""

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

# More would take minutes and gigabytes, and change the accuracy by little.
MOST_ROWS = 20_000
_MOST_WORDS = 50_000
_MOST_WEIGHTS = 1_000_000  # one a word and label; the solver keeps twenty copies


def baseline_accuracy(
    texts: Sequence[str], labels: Sequence[str], test_texts: Sequence[str], truth: Sequence[str]
) -> float:
    """Train the baseline on labelled texts, and return the share of test texts it is right for.

    Raises:
        ValueError: If the texts have no words, or a single label.
    """
    most = min(_MOST_WORDS, _MOST_WEIGHTS // len(set(labels)))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=most)
    model = make_pipeline(words, LogisticRegression(C=10.0, max_iter=1_000))
    return float(model.fit(texts, labels).score(test_texts, truth))
