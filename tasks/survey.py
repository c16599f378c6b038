"""What is known of a file before its rows are scored."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pyarrow as pa


class Survey(BaseModel):
    """What one reading of a whole file told.

    Attributes:
        sha256: Digest of the file as it lies there.
        size: Of the file, in bytes.
        modified_ns: Its modification time, in nanoseconds.
        rows: All its rows, malformed ones included.
        columns: The Arrow schema of its columns, serialised.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    sha256: str
    size: int
    modified_ns: int
    rows: int
    columns: bytes

    @property
    def arrow_schema(self) -> "pa.Schema":
        import pyarrow as pa

        return pa.ipc.read_schema(pa.py_buffer(self.columns))
