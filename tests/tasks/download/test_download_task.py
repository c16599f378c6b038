"""A task tries again what may go away, waits as it was asked to, and tells no secrets."""

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import Task, flow
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed
from prefect.tasks import exponential_backoff

from tasks.common.errors import DataError, DownloadError, ParameterError, TransientDownloadError
from tasks.common.task_errors import is_retryable
from tasks.dataset.prefect_tasks import download_data
from tests.support.http_server import FileServer, Reply
from tests.tasks.download.parts import BODY, SHA256, left_by

# Which failures are worth another attempt of a task


def is_retried(error: Exception) -> bool:
    run = TaskRun(task_key="one", dynamic_key="0")
    return is_retryable(download_data, run, Failed(data=error))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientDownloadError("the line broke"), True),
        (ConnectionError("the tracking server is away"), True),
        (DownloadError("HTTP 404"), False),
        (ParameterError("seed=-1"), False),
        (DataError("no table"), False),
    ],
)
def test_what_may_go_away_is_retried(error: Exception, expected: bool) -> None:
    assert is_retried(error) is expected


@pytest.mark.parametrize(
    ("asked_s", "waited_s"), [(0.0, [0.0]), (7.5, [7.5]), (60.0, [60.0]), (61.0, [])]
)
def test_wish_to_wait_is_granted_up_to_a_minute(
    monkeypatch: pytest.MonkeyPatch, asked_s: float, waited_s: list[float]
) -> None:
    waits: list[float] = []
    # Its own clock alone: threads of Prefect sleep as well.
    monkeypatch.setattr("tasks.common.task_errors.time", SimpleNamespace(sleep=waits.append))
    assert is_retried(TransientDownloadError("HTTP 503", asked_s)) is bool(waited_s)
    assert waits == waited_s


# The Prefect task


class TaskLog(logging.Handler):
    """Collects what Prefect logs of task runs, at every level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    @property
    def delays(self) -> list[float]:
        """The delays of the next attempts that were announced, in seconds."""
        announced = [line.split("will start ")[1] for line in self.lines if "will start " in line]
        return [float(text.split()[0]) for text in announced]


AnyDownload = Task[..., tuple[Path, ...]]


def in_flow(task: AnyDownload, source: str, sha256: str | None = None) -> Path:
    @flow(name="one-download")
    def one_download() -> tuple[Path, ...]:
        return task(source, sha256)

    (file,) = one_download()
    return file


@pytest.fixture
def task_log() -> Iterator[TaskLog]:
    handler = TaskLog()
    logger = logging.getLogger("prefect.task_runs")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_task_waits_longer_and_longer_by_default() -> None:
    assert download_data.retries == 5
    assert download_data.retry_delay_seconds == [1, 2, 4, 8, 16]
    assert download_data.retry_jitter_factor == 0.5


@pytest.mark.usefixtures("prefect_harness")
def test_task_retries_with_growing_jittered_delays(
    server: FileServer, home: Path, task_log: TaskLog
) -> None:
    server.will(
        Reply(status=503), Reply(cut_after=5_000), Reply(status=503), Reply(cut_after=9_000)
    )
    quick = download_data.with_options(retry_delay_seconds=exponential_backoff(0.1))
    file = in_flow(quick, server.url, SHA256)
    assert file.read_bytes() == BODY
    assert file.is_relative_to(home)
    assert left_by(file) == {"reviews.csv"}
    assert server.ranges == [None, None, "bytes=5000-", "bytes=5000-", "bytes=14000-"]

    delays, nominal = task_log.delays, [0.1, 0.2, 0.4, 0.8]
    assert len(delays) == 4
    for delay, center in zip(delays, nominal, strict=True):
        assert 0.62 * center < delay < 1.5 * center
        assert delay != center
    assert delays[0] < delays[2]
    assert delays[1] < delays[3]
    times = [request.at_s for request in server.requests]
    waited = [after - before for before, after in pairwise(times)]
    # The task sleeps by the clock on the wall, which may be corrected meanwhile.
    assert all(real > delay - 0.05 for real, delay in zip(waited, delays, strict=True))


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_gives_up_at_once_on_what_is_final(server: FileServer) -> None:
    server.will(Reply(status=404))
    with pytest.raises(DownloadError, match="HTTP 404"):
        in_flow(download_data, server.url)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_gives_up_after_its_retries(server: FileServer) -> None:
    server.will(*[Reply(status=503)] * 5)
    quick = download_data.with_options(retries=2, retry_delay_seconds=0.01)
    with pytest.raises(TransientDownloadError, match="HTTP 503"):
        in_flow(quick, server.url)
    assert len(server.requests) == 3


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_waits_as_long_as_the_server_asks(server: FileServer) -> None:
    server.will(Reply(status=503, headers={"Retry-After": "1"}))
    in_flow(download_data.with_options(retry_delay_seconds=0.01), server.url)
    assert server.requests[1].at_s - server.requests[0].at_s >= 1


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_does_not_wait_for_hours(server: FileServer) -> None:
    server.will(Reply(status=429, headers={"Retry-After": "7200"}))
    with pytest.raises(DownloadError, match="HTTP 429 and a wish to wait 7200 s, expected 200"):
        in_flow(download_data, server.url)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("prefect_harness", "home")
def test_record_and_log_of_a_run_hold_no_secrets(server: FileServer, task_log: TaskLog) -> None:
    records: list[str] = []
    watched = download_data.with_options(
        retry_delay_seconds=0.01,
        on_failure=[lambda _task, run, _state: records.append(repr(run.model_dump()))],
    )
    server.will(Reply(status=503), Reply(cut_after=5_000), Reply(status=404))
    url = f"http://{server.host}/reviews.csv?token=hunter2"
    with pytest.raises(DownloadError, match="HTTP 404"):
        in_flow(watched, url)
    assert "HTTP 404" in records[0]
    everything = "\n".join([*records, *task_log.lines])
    assert f"{server.url}: HTTP 503" in everything
    assert "hunter2" not in everything
