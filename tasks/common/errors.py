"""The errors a user can cause or mend, each with the exit code of the command line.

    MillstreamError                 1  a run that could not finish
    ├── UnexpectedError             1  what none of these says; worth another attempt
    ├── ParameterError              2  a parameter is missing, unknown or out of bounds
    ├── DataError                   3  a file, row, column or label is not usable
    ├── DownloadError               4  a transfer failed or brought something else
    │   └── TransientDownloadError  4  a transfer that broke; worth another attempt
    ├── ModelError                  5  a model is missing, unfit, or failed its check
    ├── ShardsFailedError           6  scoring ended with too many failed shards or rejected rows
    ├── OutputInUseError            7  another run holds the output folder
    ├── OutputError                 8  the output folder cannot be written, as on a full disk
    ├── ProofError                  9  the published rows are not those of the input
    ├── TrackingError              10  all is published, but MLflow has no record of the run
    └── StoppedError              143  the run was told to end

Messages are one line and name the offending file, row, parameter or version, its value,
and what was expected. They never quote the text of a user's row.
"""


class MillstreamError(Exception):
    """Base of every error that is shown to the user as one line, without a traceback."""

    exit_code = 1


class UnexpectedError(MillstreamError):
    """Something failed that no other error says; worth another attempt."""


class ParameterError(MillstreamError):
    """A parameter is missing, unknown or out of bounds."""

    exit_code = 2


class DataError(MillstreamError):
    """A file, row, column or label cannot be used."""

    exit_code = 3


class DownloadError(MillstreamError):
    """A transfer failed, or brought something other than what was asked for."""

    exit_code = 4


class TransientDownloadError(DownloadError):
    """A transfer that broke, and may go through when it is tried again.

    Attributes:
        retry_after_s: Seconds the server asked to wait before the next attempt.
    """

    # The default keeps the error picklable, which it must be to leave a worker process.
    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelError(MillstreamError):
    """A model or version is missing, unfit for its use, or failed its check."""

    exit_code = 5


class ShardsFailedError(MillstreamError):
    """Scoring ended, but more shards failed or more rows were rejected than was allowed."""

    exit_code = 6


class OutputInUseError(MillstreamError):
    """Another run holds the output folder."""

    exit_code = 7


class OutputError(MillstreamError):
    """The output folder cannot be written; the shards published before are safe."""

    exit_code = 8


class ProofError(MillstreamError):
    """The published rows are not the rows of the input, each once."""

    exit_code = 9


class TrackingError(MillstreamError):
    """Everything is published, but MLflow has no record of the run."""

    exit_code = 10


class StoppedError(MillstreamError):
    """The run was told to end, and a thread of it did."""

    exit_code = 143
