"""Metrics of online serving for Prometheus; no label has a text or a key.

https://prometheus.io/docs/practices/naming/ has the rules for their names.
"""

from collections import Counter as Count

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from tasks.recording.recorder import Recorder
from tasks.serving.shadowing import OnlineShadow
from tasks.serving.versions import AnsweredRows, ServedModel

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of this process, or of all that share a folder.

    Attributes:
        seconds: Time from the last byte of a request to the first of its answer.
        line: Texts that wait in the line.
        batches: Texts that an engine computes together.
    """

    def __init__(self, *, shared: bool) -> None:
        """Make them.

        Args:
            shared: Whether several processes write them into the folder that
                `PROMETHEUS_MULTIPROC_DIR` names.
        """
        self._shared = shared
        own = self._registry = CollectorRegistry()
        self._requests = Counter(
            "millstream_requests", "Requests.", ["path", "status"], registry=own
        )
        self.seconds = Histogram(
            "millstream_request_seconds",
            "Seconds until a request was answered.",
            ["path"],
            buckets=_SECONDS,
            registry=own,
        )
        self._texts = Counter(
            "millstream_texts",
            "Texts, by where the answer came from: computed, repeated, cached, refused.",
            ["source", "version"],
            registry=own,
        )
        self._labels = Counter(
            "millstream_labels", "Answered texts by label.", ["label", "version"], registry=own
        )
        self._languages = Counter(
            "millstream_languages", "Texts by detected language.", ["language"], registry=own
        )
        self.batches = Histogram(
            "millstream_batch_texts",
            "Texts that an engine computed together.",
            buckets=_TEXTS,
            registry=own,
        )
        self.line = Gauge(
            "millstream_line_texts", "Texts in the line.", registry=own, multiprocess_mode="livesum"
        )
        self._serving = Gauge(
            "millstream_serving",
            "1 for each version that answers.",
            ["version"],
            registry=own,
            multiprocess_mode="livemax",
        )
        self._swaps = Counter(
            "millstream_swaps", "Versions that took over from another.", registry=own
        )
        self._cache_failures = Counter(
            "millstream_cache_failures", "Failures of the prediction cache.", registry=own
        )
        self._recorded = Gauge(
            "millstream_recorded_rows",
            "Answered rows in the record, since the start.",
            registry=own,
            multiprocess_mode="sum",
        )
        self._dropped = Gauge(
            "millstream_unrecorded_rows",
            "Answered rows that were to be recorded and are not, since the start.",
            registry=own,
            multiprocess_mode="sum",
        )
        self._shadow_rows = Gauge(
            "millstream_shadow_rows",
            "Rows that the shadow answered, since the start.",
            registry=own,
            multiprocess_mode="sum",
        )
        self._shadow_dropped = Gauge(
            "millstream_shadow_dropped_files",
            "Recorded files that the shadow did not come to or could not answer, since the start.",
            registry=own,
            multiprocess_mode="sum",
        )
        self._versions: set[str] = set()

    def count_request(self, path: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()

    def count_answers(self, answered: AnsweredRows) -> None:
        """Count what a call answered."""
        for part in answered.parts:
            version = str(part.version.number)
            outcomes = part.answers.outcomes
            for source, rows in Count(outcome.source for outcome in outcomes).items():
                self._texts.labels(source, version).inc(rows)
            found = [outcome.answer for outcome in outcomes if outcome.answer]
            for label, rows in Count(answer.prediction.label for answer in found).items():
                self._labels.labels(label, version).inc(rows)
            codes = (outcome.language.code for outcome in outcomes if outcome.language)
            for code, rows in Count(codes).items():
                self._languages.labels(code).inc(rows)
            self._cache_failures.inc(part.answers.cache_failures)

    def note_swap(self, served: ServedModel) -> None:
        """Note which versions answer from now on, and watch the batches of their engines."""
        for version in served.versions:
            if hasattr(version.pipeline, "watch_batches"):  # not of earlier versions
                version.pipeline.watch_batches(self.batches.observe)
        if self._versions:
            self._swaps.inc()
        now = {str(version.number) for version in served.versions}
        for number in self._versions | now:
            self._serving.labels(number).set(number in now)
        self._versions = now

    def note_record(self, recorder: Recorder, shadow: OnlineShadow | None) -> None:
        """Note how many rows are recorded, and answered by the shadow."""
        if shadow:
            self._shadow_rows.set(shadow.answered)
            self._shadow_dropped.set(shadow.dropped)
        self._recorded.set(recorder.recorded)
        self._dropped.set(recorder.dropped)

    def render(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        if not self._shared:
            return generate_latest(self._registry)
        every = CollectorRegistry()
        MultiProcessCollector(every)  # type: ignore[no-untyped-call]
        return generate_latest(every)
