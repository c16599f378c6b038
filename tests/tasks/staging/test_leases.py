"""Leases: nobody writes to a folder that was taken away."""

import threading
from pathlib import Path

import pytest

from tasks.output.folder import STAGING
from tasks.staging.leases import grant_lease, revoke_all_leases, revoke_lease
from tasks.staging.publishing import Drafts


def test_a_draft_needs_its_lease(tmp_path: Path) -> None:
    lease = grant_lease(tmp_path, "run-00001")
    drafts = Drafts(lease)
    with drafts.file("predictions") as path:
        path.write_bytes(b"rows")
    assert drafts.paths["predictions"].read_bytes() == b"rows"

    def write_late() -> None:
        with drafts.file("rejected") as path:
            revoke_lease(lease)
            path.write_bytes(b"late")

    with pytest.raises(FileNotFoundError):
        write_late()
    assert not list((tmp_path / STAGING).iterdir())
    revoke_lease(lease)  # it is gone already


def test_a_draft_that_fails_is_removed(tmp_path: Path) -> None:
    lease = grant_lease(tmp_path, "run-00001")
    drafts = Drafts(lease)

    def write_half() -> None:
        with drafts.file("predictions") as path:
            path.write_bytes(b"ro")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert (drafts.paths, drafts.digests, list(lease.iterdir())) == ({}, {}, [])


def test_all_leases_end_at_once_also_those_of_killed_runs(tmp_path: Path) -> None:
    for name in ("killed-00001", "run-00001"):
        (grant_lease(tmp_path, name) / "rows.arrow").touch()
    half_removed = tmp_path / f".{STAGING}.1-abcd.draft"
    (half_removed / "killed-00002").mkdir(parents=True)
    revoke_all_leases(tmp_path)
    assert list(tmp_path.iterdir()) == []
    revoke_all_leases(tmp_path)


def test_a_link_in_the_place_of_the_leases_is_not_followed(tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / "file").touch()
    output = tmp_path / "out"
    output.mkdir()
    (output / STAGING).symlink_to(others)
    revoke_all_leases(output)
    assert list(output.iterdir()) == []
    assert (others / "file").exists()


def test_who_writes_while_a_lease_ends_leaves_nothing(tmp_path: Path) -> None:
    lease = grant_lease(tmp_path, "run-00001")
    written = 0
    started = threading.Event()

    def write() -> None:
        nonlocal written
        drafts = Drafts(lease)
        while True:
            try:
                with drafts.file("predictions") as path:
                    path.write_bytes(b"rows")
            except FileNotFoundError:
                return
            written += 1
            started.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert started.wait(10)
    revoke_all_leases(tmp_path)
    writer.join(10)
    assert not writer.is_alive()
    assert written
    assert not (tmp_path / STAGING).exists()
