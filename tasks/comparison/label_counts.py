"""Count which of two versions is right, on rows with a label that neither knows from a training."""

from collections import Counter
from functools import cached_property

from tasks.comparison.paired_rows import PairedRow, Rejected, Scored
from tasks.comparison.versions import digests_used_by
from tasks.dataset.labels import KnownLabels
from tasks.dataset.splitting import digest_text
from tasks.measures.paired import PairedCounts
from tasks.tracking.names import RegisteredModel
from tasks.tracking.pipeline_loader import load_typed_pipeline


class LabelCounts:
    """The rows with a label, of which the first of each text counts.

    The tests are of independent rows, and repeated texts are none: a version that has one of them
    right has all.

    Args:
        present: The URI of the version that answers today.
        other: That of the other.

    Attributes:
        known: Rows that do not count: one of both was trained or validated on their text.
        unknown_labels: Rows that do not count: neither version knows their label.
        repeated: Rows that do not count: one before had their text.
        decided: Rows that do not count: a look-up or a rule of one version refused them.
        unknown_trainings: Whether a training of before logged not all its texts, so that no row
            counts.
    """

    def __init__(self, present: str, other: str) -> None:
        self._uris = (present, other)
        self._used = digests_used_by(*map(RegisteredModel.from_uri, self._uris))
        self._counted: set[str] = set()
        self._right: Counter[tuple[bool, bool]] = Counter()
        self.unknown_trainings = self._used is None
        self.known = self.unknown_labels = self.repeated = self.decided = 0

    @cached_property
    def _names(self) -> tuple[KnownLabels, ...]:
        # Both versions are loaded for it, which rows without labels do not need.
        return tuple(KnownLabels(load_typed_pipeline(uri).labels) for uri in self._uris)

    @property
    def right(self) -> PairedCounts | None:
        """The rows that count by who is right; one that is rejected is wrong. None without."""
        return PairedCounts.of(self._right.elements()) if self._right else None

    def add(self, row: PairedRow) -> None:
        """Count a row with a label; one that both rejected shows nothing of either."""
        answers = (row.present, row.other)
        if self._used is None or not any(isinstance(answer, Scored) for answer in answers):
            return
        truths = [names.find(row.truth) for names in self._names]
        digest = digest_text(str(row.text))
        if any(isinstance(answer, Rejected) and answer.is_decided for answer in answers):
            self.decided += 1
        elif truths == [None, None]:
            self.unknown_labels += 1
        elif digest in self._used:
            self.known += 1
        elif digest in self._counted:
            self.repeated += 1
        else:
            self._counted.add(digest)
            present, other = (
                isinstance(answer, Scored) and answer.label == truth
                for answer, truth in zip(answers, truths, strict=True)
            )
            self._right[present, other] += 1
