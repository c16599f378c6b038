"""Types of the record of answered requests: parameters of the command."""

from typing import Annotated

from tasks.common.parameter_types import FrozenModel, Positive, about
from tasks.output.place import output_place

RecordFolder = Annotated[
    str,
    output_place("record"),
    about(
        "Folder that keeps answered requests, laid out as an output of score-shards; empty keeps "
        "none."
    ),
]
RecordFraction = Annotated[
    float, about("Share of the texts whose rows are recorded, chosen by a hash.", gt=0, le=1)
]
RecordText = Annotated[bool, about("Whether the texts are recorded, or the SHA-256 of each alone.")]
RecordSeconds = Annotated[
    float, about("Seconds after its first row with which a file is written.", gt=0, le=86_400)
]


class RecordOptions(FrozenModel):
    """What is recorded, and how large a file gets.

    Attributes:
        rows_per_file: Rows with which a file is written.
    """

    fraction: RecordFraction = 1.0
    with_text: RecordText = True
    rows_per_file: Positive = 10_000
    seconds_per_file: RecordSeconds = 60.0


RECORDING = RecordOptions()
