"""The start of a download, kept when an attempt breaks so that the next one can go on with it.

target.part        the bytes received so far
target.part.json   which version of the file on the server they are the start of
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class RemoteVersion:
    """One version of the file on the server.

    Attributes:
        source: A digest of the URL, which itself may hold a token.
        etag: Its ETag, if the server told one.
        modified: Its Last-Modified, if the server told one.
        size: Its length in bytes, as far as it is known.
    """

    source: str
    etag: str | None
    modified: str | None
    size: int | None

    @classmethod
    def of(cls, response: httpx.Response, source: str) -> "RemoteVersion":
        """Return the version that a 200 answer from `source` begins."""
        get = response.headers.get
        size = get("Content-Length")
        return cls(source, get("ETag"), get("Last-Modified"), int(size) if size else None)

    def condition(self) -> dict[str, str]:
        """Return the header that makes a server send a changed file from its start."""
        strong = None if (self.etag or "").startswith("W/") else self.etag
        validator = strong or self.modified
        return {"If-Range": validator} if validator else {}

    def continued_by(self, response: httpx.Response, offset: int) -> "RemoteVersion | None":
        """Return the version if a 206 answer goes on with it at `offset`, else None.

        If-Range alone does not settle it: some servers ignore that header.
        """
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or not found or int(found[1]) != offset:
            return None
        size = self.size if found[2] == "*" else int(found[2])
        name, known = ("ETag", self.etag) if self.etag else ("Last-Modified", self.modified)
        same = self.size in (None, size) and response.headers.get(name, known) == known
        return replace(self, size=size) if same else None


@dataclass(frozen=True)
class PartialFile:
    """The bytes received so far, beside a note of the version they belong to.

    Attributes:
        path: Where the bytes are.
    """

    path: Path

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def version(self, source: str) -> RemoteVersion | None:
        """Return the version that was begun from `source`, or None if nothing can be continued."""
        with suppress(OSError, ValueError, TypeError):
            version = RemoteVersion(**json.loads(self.note.read_text()))
            if version.source == source and self.size > 0:
                return version
        return None

    def begin(self, version: RemoteVersion) -> RemoteVersion:
        """Start over with no bytes of `version`."""
        self.discard()
        self.note.write_text(json.dumps(asdict(version)))
        self.path.touch()
        return version

    def discard(self) -> None:
        """Remove the bytes and the note."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
