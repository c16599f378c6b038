import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event

import pytest
from filelock import FileLock

from tasks.common.files import published_file, published_folder, sha256_of, waited_lock
from tasks.common.settings import REPOSITORY
from tests.support.operation import until


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "a.parquet"


# Files


def test_file_appears_when_it_is_whole(target: Path) -> None:
    with published_file(target) as draft:
        draft.write_bytes(b"ab")
        assert not target.exists()
        assert list(target.parent.glob("*.parquet")) == []
    assert target.read_bytes() == b"ab"
    assert names(target.parent) == {"a.parquet"}


def test_file_is_replaced_as_a_whole(target: Path) -> None:
    for content in (b"one", b"other"):
        with published_file(target) as draft:
            draft.write_bytes(content)
            assert not target.exists() or target.read_bytes() == b"one"
    assert target.read_bytes() == b"other"


def test_two_writers_with_one_process_number_do_not_meet(target: Path) -> None:
    """As in two containers that share a folder: each has a process 1."""
    with published_file(target) as one, published_file(target) as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert target.read_bytes() == b"one"  # which was published last
    folder = target.parent / "split"
    with published_folder(folder) as one, published_folder(folder) as other:
        (one / "one").touch()
        (other / "other").touch()
    assert names(folder) == {"one"}
    assert names(target.parent) == {"a.parquet", "split"}


@pytest.mark.parametrize("earlier", [None, b"earlier"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_writer_that_fails_midway_leaves_what_was_there(
    target: Path, earlier: bytes | None, error: type[BaseException]
) -> None:
    target.parent.mkdir()
    if earlier is not None:
        target.write_bytes(earlier)
    with pytest.raises(error), published_file(target) as draft:  # noqa: PT012
        draft.write_bytes(b"half")
        raise error
    assert names(target.parent) == ({"a.parquet"} if earlier else set())
    assert earlier is None or target.read_bytes() == earlier


def test_writer_that_writes_nothing_is_an_error(target: Path) -> None:
    with pytest.raises(FileNotFoundError), published_file(target):
        pass
    assert names(target.parent) == set()


# Folders


def test_folder_appears_when_it_is_whole_and_replaces_another(tmp_path: Path) -> None:
    target = tmp_path / "split"
    for name in ("one", "other"):
        with published_folder(target) as draft:
            (draft / name).touch()
            assert not (target / name).exists()
        assert names(target) == {name}
    assert names(tmp_path) == {"split"}


def test_folder_whose_writer_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "split"
    for _ in range(2):
        with pytest.raises(OSError, match="full"), published_folder(target) as draft:  # noqa: PT012
            (draft / "half").touch()
            raise OSError("full")
        assert names(tmp_path) <= {"split"}
        with published_folder(target) as draft:
            (draft / "whole").touch()
    assert names(target) == {"whole"}


# A process that is killed

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from tasks.common.files import {function}
with {function}(Path(sys.argv[1])) as draft:
    (draft / "half" if draft.is_dir() else draft).write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)
"""

Publisher = Callable[[Path], AbstractContextManager[Path]]


@pytest.mark.parametrize("function", [published_file, published_folder])
@pytest.mark.parametrize("earlier", [False, True])
def test_killed_writer_leaves_no_output_and_hinders_no_later_one(
    target: Path, function: Publisher, earlier: bool
) -> None:
    def publish() -> None:
        with function(target) as draft:
            (draft / "whole" if draft.is_dir() else draft).write_bytes(b"whole")

    def content() -> bytes:
        return (target / "whole" if target.is_dir() else target).read_bytes()

    if earlier:
        publish()
    script = WRITE_AND_WAIT.format(function=function.__name__)
    command = [sys.executable, "-c", script, str(target)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert list(target.parent.glob("*.parquet")) == ([target] if earlier else [])
    assert not earlier or content() == b"whole"
    publish()
    assert content() == b"whole"


# Digests


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"a" * 300_000)
    assert sha256_of(file) == hashlib.sha256(b"a" * 300_000).hexdigest()


# Locks


def test_a_lock_of_another_is_waited_for_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path, held = tmp_path / "a.lock", Event()

    def hold_until_it_is_waited_for() -> None:
        with FileLock(path):
            held.set()
            until(lambda: "waiting" in caplog.text, "the message")

    with ThreadPoolExecutor() as pool:
        other = pool.submit(hold_until_it_is_waited_for)
        held.wait()
        with waited_lock(path, "an equal training"):
            other.result()
    assert f"waiting for an equal training ({path})" in caplog.text
