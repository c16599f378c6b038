"""The replay memory: features of texts in Parquet files, by the digest of the text; no text."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import ModelError
from tasks.common.files import published_file, unique_name, waited_lock
from tasks.common.progress import show_progress
from tasks.common.settings import get_settings
from tasks.learning.backbone import Backbone

logger = logging.getLogger(__name__)

Kept = npt.NDArray[np.float16]

_ROWS_OF_A_FILE = 1_024  # the most that a kill can lose


class ReplayMemory:
    """Features of texts, of one backbone; a text is computed once.

    A version whose head was learnt again has the backbone of its parent, and so its memory.

    Attributes:
        folder: Where the files are.
        computed: Texts that were computed by this object.
    """

    def __init__(self, backbone: Backbone) -> None:
        """Read what is known.

        A file that is damaged is dropped with a warning: what it held can be computed again, of
        texts that are there. If they are not, `features` names how many are missing.

        Args:
            backbone: Computes what is not known yet.
        """
        self.folder = get_settings().replay / backbone.digest()[:16]
        self.computed = 0
        self._backbone = backbone
        self._rows: dict[str, Kept] = {}
        self._read_files: set[Path] = set()

    def add(self, texts: Mapping[str, str]) -> None:
        """Compute the features of texts that are not known yet, and keep them.

        Args:
            texts: Texts by their digests.

        Raises:
            ModelError: If a feature is no number that 16 bits hold.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Another learning would compute the same texts.
        with waited_lock(self.folder.with_suffix(".lock"), "another learning"):
            self._read_new_files()
            missing = [digest for digest in texts if digest not in self._rows]
            # Texts of similar length need little padding. The batches of the same texts are the
            # same: the company of a text changes its features in their last digits.
            missing.sort(key=lambda digest: (len(texts[digest]), digest))
            with show_progress("features", len(missing)) as progress:
                for start in range(0, len(missing), _ROWS_OF_A_FILE):
                    part = missing[start : start + _ROWS_OF_A_FILE]
                    self._write(part, self._compute([texts[digest] for digest in part]))
                    self.computed += len(part)
                    progress.advance(len(part))
            self._read_new_files()

    def features(self, digests: Sequence[str], name: str) -> npt.NDArray[np.float64]:
        """Return the features of texts that were added, of shape (texts, features).

        Args:
            digests: The digests of the texts.
            name: The model, for the error.

        Raises:
            ModelError: If some are not known.
        """
        if missing := [digest for digest in digests if digest not in self._rows]:
            raise ModelError(
                f"{name}: {self.folder} lacks the features of {len(missing)} of {len(digests)} "
                "rows, whose texts are gone from this machine; expected all of them: train again"
            )
        return np.array([self._rows[digest] for digest in digests], np.float64)

    def _compute(self, texts: Sequence[str]) -> Kept:
        with np.errstate(over="ignore"):
            found = self._backbone.features(texts).astype(np.float16)
        if not np.isfinite(found).all():
            raise ModelError(
                f"{self.folder}: a feature is no finite number of 16 bits; expected a model whose "
                "last layer reads numbers below 65,504"
            )
        return found

    def _write(self, digests: Sequence[str], features: Kept) -> None:
        flat = pa.array(features.ravel(), pa.float16())
        table = pa.table(
            {
                "text_digest": pa.array(digests, pa.string()),
                "features": pa.FixedSizeListArray.from_arrays(flat, self._backbone.width),
            }
        )
        with published_file(self.folder / f"{unique_name()}.parquet") as draft:
            pq.write_table(table, draft, write_page_checksum=True)

    def _read_new_files(self) -> None:
        for path in sorted({*self.folder.glob("*.parquet")} - self._read_files):
            try:
                self._rows |= self._read_file(path)
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                if isinstance(error, OSError) and error.errno:
                    raise
                logger.warning(
                    "%s is damaged (%s) and dropped; the features in it are computed again",
                    *(path, type(error).__name__),
                )
                path.unlink(missing_ok=True)
            self._read_files.add(path)

    def _read_file(self, path: Path) -> dict[str, Kept]:
        table = pq.read_table(path, page_checksum_verification=True)
        digests = table["text_digest"].to_pylist()
        flat = table["features"].combine_chunks().flatten().to_numpy()
        return dict(zip(digests, flat.reshape(len(digests), self._backbone.width), strict=True))
