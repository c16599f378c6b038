"""Resumable downloads: the bytes received so far, and a note of the remote file's version.

target.part        the bytes received so far
target.part.json   which version of the file on the server they are the start of
target.version     of which version the complete file is
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tasks.common.files import published_file
from tasks.download.responses import Response, encoding_of

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class RemoteVersion:
    """One version of the file on the server.

    Attributes:
        source: A digest of the URL, which itself may hold a token.
        etag: Its ETag, if any.
        modified: Its Last-Modified, if any.
        size: Its length in bytes as it is sent, if known.
        encoding: The content encoding that it is sent with.
    """

    source: str
    etag: str | None
    modified: str | None
    size: int | None
    encoding: str = "identity"

    @classmethod
    def from_response(cls, response: Response, source: str) -> "RemoteVersion":
        """Return the version in the headers of a response with status 200."""
        get = response.headers.get
        size = get("Content-Length")
        return cls(
            source,
            get("ETag"),
            get("Last-Modified"),
            int(size) if size else None,
            encoding_of(response),
        )

    @classmethod
    def read(cls, note: Path, source: str) -> "RemoteVersion | None":
        """Return the version that a note names, or None if there is none, or one of another URL."""
        with suppress(OSError, ValueError, TypeError):
            version = cls(**json.loads(note.read_text()))
            if version.source == source:
                return version
        return None

    def write(self, note: Path) -> None:
        """Write a note of this version."""
        with published_file(note) as draft:
            draft.write_text(json.dumps(asdict(self)))

    def if_changed_headers(self) -> dict[str, str]:
        """Return the headers with which a server sends the file only if it is another version."""
        known = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in known.items() if value}

    def if_range_header(self) -> dict[str, str]:
        """Return the If-Range header, with which a server sends a changed file from its start."""
        strong = None if (self.etag or "").startswith("W/") else self.etag
        validator = strong or self.modified
        return {"If-Range": validator} if validator else {}

    def resumed_by(self, response: Response, offset: int) -> "RemoteVersion | None":
        """Return the version if a 206 response continues it at `offset`, else None.

        If-Range alone does not suffice: some servers ignore it.
        """
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or not found or int(found[1]) != offset:
            return None
        size = self.size if found[2] == "*" else int(found[2])
        name, known = ("ETag", self.etag) if self.etag else ("Last-Modified", self.modified)
        same = self.size in (None, size) and response.headers.get(name, known) == known
        return replace(self, size=size) if same and encoding_of(response) == self.encoding else None


@dataclass(frozen=True)
class PartialFile:
    """The bytes received so far, in `path`, and a note of the version they belong to."""

    path: Path

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def begun_version(self, source: str) -> RemoteVersion | None:
        """Return the version begun from `source`, or None if there is nothing to resume."""
        version = RemoteVersion.read(self.note, source)
        return version if version and self.path.is_file() and self.size > 0 else None

    def restart(self, version: RemoteVersion) -> RemoteVersion:
        """Start over, with no bytes and a note of `version`."""
        self.discard()
        version.write(self.note)
        self.path.touch()
        return version

    def discard(self) -> None:
        """Remove the bytes and the note."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
