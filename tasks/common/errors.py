"""Exceptions that a user can cause or fix, each with its exit code.

    MillstreamError
    ├── UnexpectedError
    ├── ParameterError
    ├── DataError
    ├── DownloadError
    │   └── TransientDownloadError
    ├── ModelError
    ├── ShardsFailedError
    ├── OutputInUseError
    ├── SupersededError
    ├── OutputError
    ├── ProofError
    ├── TrackingError
    ├── DeliveryError
    │   └── TransientDeliveryError
    ├── ClusterError
    └── StoppedError

The first line of a class says what its exit code means; docs/reference.md has all of them.
Messages are one line and name the offending file, row, parameter or version, its value, and what
was expected. They never quote the text of a user's row.
"""

INTERRUPTED = 130
# Exit codes that no class has.
OTHER_EXIT_CODES = {0: "the flow completed", INTERRUPTED: "interrupted (Ctrl-C, SIGINT)"}


class MillstreamError(Exception):
    """The run failed for a reason that is not one of these.

    Base of every error that is shown to the user as one line, without a traceback.
    """

    exit_code = 1


class UnexpectedError(MillstreamError):
    """Another package raised an error; another attempt may succeed."""


class ParameterError(MillstreamError):
    """A parameter is missing, unknown, out of bounds, or names no version of a model."""

    exit_code = 2


class DataError(MillstreamError):
    """A file, row, column or label is not usable."""

    exit_code = 3


class DownloadError(MillstreamError):
    """A transfer failed or brought something else."""

    exit_code = 4


class TransientDownloadError(DownloadError):
    """A transfer that broke, and may succeed when it is retried.

    Attributes:
        retry_after_s: Seconds the server asked to wait before the next attempt.
    """

    # The default keeps the error picklable, as leaving a worker process requires.
    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelError(MillstreamError):
    """The files of a model are missing, or it is unfit or failed its check."""

    exit_code = 5


class ShardsFailedError(MillstreamError):
    """Scoring ended with too many failed shards or rejected rows."""

    exit_code = 6


class OutputInUseError(MillstreamError):
    """Another run holds the output folder."""

    exit_code = 7


class SupersededError(MillstreamError):
    """The version that was to score is not champion any more, and the run was for a champion."""

    exit_code = 12


class OutputError(MillstreamError):
    """The output folder cannot be written, as on a full disk.

    The shards published before are safe.
    """

    exit_code = 8


class ProofError(MillstreamError):
    """The published rows are not those of the input."""

    exit_code = 9


class TrackingError(MillstreamError):
    """All is published, but MLflow has no record of the run."""

    exit_code = 10


class DeliveryError(MillstreamError):
    """All is published, but a database has not all of it, as its table has other columns."""

    exit_code = 11


class TransientDeliveryError(DeliveryError):
    """A delivery that may succeed when it is repeated, as after a lock or a lost connection.

    Attributes:
        is_retried: Whether a task tries again at once; the next run does so in any case.
    """

    is_retried = True


class ClusterError(MillstreamError):
    """The scheduler or the workers of a Dask cluster cannot be used."""

    exit_code = 13


class StoppedError(MillstreamError):
    """Ended (SIGTERM)."""

    exit_code = 143
