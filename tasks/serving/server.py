"""What online serving has in one process: the versions, the line, the metrics, and its life."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request

from pyfunc.cpu_quota import usable_cores
from tasks.common.errors import DataError
from tasks.common.task_errors import class_and_line
from tasks.common.text import printable
from tasks.recording.recorded_rows import AnsweredRequest
from tasks.recording.recorder import Recorder
from tasks.serving.following import Follower
from tasks.serving.line import LineRequest, OverloadedError, RequestLine
from tasks.serving.metrics import Metrics
from tasks.serving.protocol import DEADLINE_HEADER, JSON, LEAST_DEADLINE, Body, parse_body
from tasks.serving.schema import Health
from tasks.serving.shadowing import OnlineShadow
from tasks.serving.types import ServingOptions
from tasks.serving.versions import AnsweredPart, AnsweredRows, ServedModel

logger = logging.getLogger("millstream.serving")

CLIENT_GONE = 499  # as nginx logs it

_ERROR_CHARACTERS = 500  # names of fields are those of the request
_NOTED_SECONDS = 1.0


class RequestRefusedError(Exception):
    """A request is refused.

    Attributes:
        status: The HTTP status.
        error: Why, in one line.
        retry_after: Seconds after which another attempt may succeed; 0 says nothing.
    """

    def __init__(self, status: int, error: str, *, retry_after: float = 0) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.retry_after = retry_after


class Server:
    """The parts of online serving in one process."""

    def __init__(self, options: ServingOptions, *, shared_metrics: bool) -> None:
        self.options = options
        self.metrics = Metrics(shared=shared_metrics)
        self.follower = Follower(options, self.metrics.note_swap)
        self._line: RequestLine | None = None
        self._recorder: Recorder | None = None
        self._shadow: OnlineShadow | None = None

    @property
    def line(self) -> RequestLine:
        """The line; it is there while the application lives."""
        assert self._line is not None  # noqa: S101
        return self._line

    @asynccontextmanager
    async def life(self, _: FastAPI) -> AsyncIterator[None]:
        """Start what answers, and answer what was taken before it ends."""
        # One more than the streams of an engine: its rows are ready when a stream is.
        self._line = RequestLine(usable_cores() + 1, self._on_answered)
        if self.options.shadow:
            self._shadow = OnlineShadow(self.options, lambda: self.line.is_idle)
        if self.options.record:
            folder = Path(self.options.record)
            written = self._shadow.add if self._shadow else None
            self._recorder = Recorder(folder, self.options.recording, written)
        self.follower.start()
        noting = asyncio.create_task(self._note_record())
        try:
            yield
        finally:
            noting.cancel()
            self.follower.stop()
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.line.close()
        if self._recorder:
            self._recorder.close()
        if self._shadow:
            self._shadow.close()

    async def answer(self, request: Request, kind: type[Body]) -> LineRequest:
        """Answer the rows of a request.

        Raises:
            RequestRefusedError: If it cannot be answered.
        """
        _check_content_type(request)
        started = time.monotonic()
        try:
            _check_query(request)
            deadline = self._deadline(request)
            content = await _read_body(request, deadline)
            asked = parse_body(kind, content, max_texts=self.options.max_texts)
            served = self.served()
            served.check_columns(asked.columns)
        except DataError as error:
            raise RequestRefusedError(400, printable(str(error))[:_ERROR_CHARACTERS]) from None
        left = max(0.0, deadline - (time.monotonic() - started))
        try:
            waiting = self.line.submit(asked, served, within=left)
        except OverloadedError as error:
            raise RequestRefusedError(
                503,
                f"{self.line.texts} texts are in the line; expected fewer than are answered within "
                f"{deadline:g} s",
                retry_after=error.retry_after,
            ) from None
        self.metrics.line.set(self.line.texts)
        if (found := await self._wait(request, waiting, left)) is None:
            raise RequestRefusedError(
                504, f"not answered within {deadline:g} s; expected a shorter line or fewer texts"
            )
        return found

    async def _wait(
        self, request: Request, waiting: LineRequest, seconds: float
    ) -> LineRequest | None:
        """Return what is answered; None after the seconds."""
        if waiting.answered.done():
            return waiting.answered.result()
        gone = asyncio.ensure_future(_until_disconnected(request))
        both: set[asyncio.Future[Any]] = {waiting.answered, gone}
        try:
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiting.answered.done():
                return waiting.answered.result()
        except Exception as error:  # noqa: BLE001 -- what the model raised on every text
            # Without the message, which may quote a text.
            logger.error("a call of the model failed: %s", class_and_line(error))
            raise RequestRefusedError(
                500, f"the model failed ({type(error).__name__}); the log has the line"
            ) from None
        finally:
            gone.cancel()
            waiting.answered.cancel()  # nothing, if it is done
        if gone.done() and not gone.cancelled():
            raise RequestRefusedError(CLIENT_GONE, "the client went away")
        return None

    def _deadline(self, request: Request) -> float:
        given = request.headers.get(DEADLINE_HEADER)
        if given is None:
            return self.options.deadline_seconds
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not seconds >= LEAST_DEADLINE:
            raise DataError(f"{DEADLINE_HEADER}: expected a number from {LEAST_DEADLINE:g}")
        return min(seconds, self.options.deadline_seconds)

    def served(self) -> ServedModel:
        """Return what answers now.

        Raises:
            RequestRefusedError: If no version is loaded yet.
        """
        now = self.follower.now
        if now.served is None:
            why = now.error or "it is being loaded"
            raise RequestRefusedError(
                503,
                f"{self.options.model_uri}: no version answers yet: {why}",
                retry_after=self.options.poll_seconds,
            )
        return now.served

    def _on_answered(self, answered: AnsweredRows) -> None:
        self.metrics.count_answers(answered)
        self.metrics.line.set(self.line.texts)
        if self._recorder:
            for part in answered.parts:
                self._recorder.add(_to_record(part))

    async def _note_record(self) -> None:
        """Note again and again what the threads of the record and of the shadow have done."""
        while self._recorder:
            self.metrics.note_record(self._recorder, self._shadow)
            await asyncio.sleep(_NOTED_SECONDS)

    def health(self) -> dict[str, Any]:
        """Return what `/health` answers."""
        now = self.follower.now
        versions = now.served.versions if now.served else ()
        return Health(
            status=now.status,
            wanted=self.options.model_uri,
            versions=[version.model.uri for version in versions],
            since=now.since.isoformat() if now.since else None,
            swaps=now.swaps,
            error=now.error,
            line_texts=self.line.texts,
            expected_seconds=round(self.line.expected_seconds, 3),
        ).model_dump()


def _check_content_type(request: Request) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != JSON:
        raise RequestRefusedError(415, f"Content-Type: expected {JSON}")


def _check_query(request: Request) -> None:
    for name in request.query_params:
        raise DataError(f"{name}: unknown parameter of the address; expected none")


async def _read_body(request: Request, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await request.body()
    except TimeoutError:
        raise RequestRefusedError(408, f"the body did not arrive within {seconds:g} s") from None


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _to_record(part: AnsweredPart) -> AnsweredRequest:
    return AnsweredRequest(
        texts=part.asked.texts,
        outcomes=part.answers.outcomes,
        model=part.version.model,
        when=datetime.now(UTC),
        columns=part.asked.columns,
        added=getattr(part.answers, "columns", None),
    )
