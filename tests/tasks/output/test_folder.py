import errno
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.common.errors import OutputError, OutputInUseError
from tasks.common.settings import REPOSITORY
from tasks.output.folder import locked_folder, output_errors

HOLDER = """
import sys, time
from pathlib import Path
from tasks.output.folder import locked_folder
with locked_folder(Path(sys.argv[1]), "of another process"):
    print("held", flush=True)
    time.sleep(600)
"""


def start_holder(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_second_run_is_told_which_run_and_process_hold_the_folder(tmp_path: Path) -> None:
    with start_holder(tmp_path) as process:
        with pytest.raises(OutputInUseError) as raised, locked_folder(tmp_path, "mine"):
            pass
        process.kill()
    assert f"{tmp_path} is in use by run of another process (process {process.pid} on" in str(
        raised.value
    )


def test_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with start_holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked_folder(tmp_path, "mine"):
        pass


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    def try_it() -> None:
        with locked_folder(tmp_path, "second"):
            pass

    with ThreadPoolExecutor(1) as pool, locked_folder(tmp_path, "first"):
        error = pool.submit(try_it).exception()
    assert isinstance(error, OutputInUseError)
    assert "in use by run first" in str(error)


@pytest.mark.parametrize("note", ["", "[]", "{}", None])
def test_holder_whose_note_cannot_be_read_is_another_run(tmp_path: Path, note: str | None) -> None:
    with locked_folder(tmp_path, "first"):
        path = tmp_path / ".lock.json"
        path.unlink() if note is None else path.write_text(note)
        with (
            pytest.raises(OutputInUseError, match="in use by another run; expected"),
            locked_folder(tmp_path, "second"),
        ):
            pass


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    folder, victim = tmp_path / "out", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("precious")
    (folder / ".lock.json").symlink_to(victim)
    with locked_folder(folder, "mine"):
        assert json.loads((folder / ".lock.json").read_text())["run"] == "mine"
    folder.mkdir(exist_ok=True)
    (folder / ".lock").symlink_to(victim)
    with (
        pytest.raises(OutputError, match=r"\.lock cannot be opened"),
        locked_folder(folder, "mine"),
    ):
        pass
    assert victim.read_text() == "precious"


def test_folder_that_was_not_used_is_removed_and_one_that_was_stays(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "unused", "mine"):
        pass
    assert not (tmp_path / "unused").exists()
    with locked_folder(tmp_path / "used", "mine"):
        (tmp_path / "used" / "file").touch()
    assert sorted(path.name for path in (tmp_path / "used").iterdir()) == [".lock", "file"]


@pytest.mark.parametrize("ended", [False, True])
def test_folder_that_a_newcomer_took_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    folder = tmp_path / "unused"
    unlink = Path.unlink

    def with_newcomer(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.name == ".lock":
            folder.rmdir() if ended else path.touch()

    with monkeypatch.context() as patch, locked_folder(folder, "mine"):
        patch.setattr(Path, "unlink", with_newcomer)
    assert folder.exists() is not ended


def test_folder_that_cannot_be_tidied_up_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "not yours", str(path))

    # What is raised keeps the lock from being forgotten with the frame.
    with (
        pytest.raises(PermissionError, match="not yours") as raised,
        monkeypatch.context() as patch,
        locked_folder(tmp_path, "mine"),
    ):
        patch.setattr(Path, "unlink", refuse)
    with locked_folder(tmp_path, "the next"):
        pass
    assert raised.value.filename == str(tmp_path / ".lock.json")


def test_a_folder_on_a_full_disk_can_be_held_so_that_room_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no room", str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    with (
        locked_folder(tmp_path, "mine"),
        pytest.raises(OutputInUseError, match="in use by another run"),
        locked_folder(tmp_path, "another"),
    ):
        pass
    reason = os.strerror(errno.ENOSPC)
    assert caplog.messages == [
        f"{tmp_path}: the note of which run holds it cannot be written ({reason})"
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_disk_that_needs_someone_ends_the_run_with_what_is_wrong(
    tmp_path: Path, number: int
) -> None:
    reason = os.strerror(number)
    with pytest.raises(OutputError, match=rf"{tmp_path} cannot be written \({reason}\)"):  # noqa: SIM117
        with output_errors(tmp_path):
            raise OSError(number, "in other words")


def test_other_errors_of_a_disk_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="hiccup") as raised, output_errors(tmp_path):
        raise OSError(errno.EIO, "hiccup")
    assert raised.value.errno == errno.EIO
