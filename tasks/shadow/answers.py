"""What a version answered as a shadow: found, and compared with the present version."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.comparison.counting import compare_outputs
from tasks.comparison.paired_rows import match_shards
from tasks.comparison.types import Comparison, RowChoice
from tasks.comparison.versions import find_pair
from tasks.feedback.chosen import write_labels
from tasks.shadow.types import FoundShadow, shadow_folder
from tasks.tracking import registry
from tasks.tracking.names import PIPELINE_MODEL, PREVIOUS


def find_answers(output_dir: Path, present: str, other: str) -> FoundShadow:
    """Return where a version answered rows of an output as a shadow, or why there is nothing.

    Args:
        output_dir: The output folder.
        present: The version that answers today.
        other: The other version, or `previous` for the champion before the present one.

    Raises:
        ParameterError: If a version is not there, is plain, or if both are the same.
    """
    if other == PREVIOUS:
        number = registry.previous_champion_number(PIPELINE_MODEL)
        if number is None:
            return FoundShadow(reason="no version was champion before")
        other = str(number)
    if not (found := find_pair(present, other)):
        return FoundShadow(reason="no version is challenger")
    folder = shadow_folder(output_dir, found[1].uri)
    versions = (found[0].uri, found[1].uri)
    if not match_shards(output_dir, folder, RowChoice(versions=versions))[0]:
        reason = f"{folder} has no answers of {versions[1]} to rows that {versions[0]} answered"
        return FoundShadow(reason=reason)
    return FoundShadow(versions=versions, folder=folder)


def compare_answers(
    output_dir: Path, shadow: FoundShadow, *, label_column: str, examples: int
) -> Comparison:
    """Compare all rows that a version answered as a shadow with the present version's answers.

    Labels of feedback on the same texts count where the input has none.

    Args:
        output_dir: The output folder.
        shadow: The two versions, and what the shadow answered.
        label_column: The column with the right labels; empty takes that of the scorings, if any.
        examples: How many flips to quote at most; 0 quotes none.

    Raises:
        DataError: If a table or a batch of feedback cannot be read.
        ParameterError: If there is no such column.
    """
    with TemporaryDirectory(prefix="millstream-") as folder:
        choice = RowChoice(
            label_column=label_column,
            versions=shadow.versions,
            labels=write_labels(Path(folder)),
        )
        return compare_outputs(output_dir, shadow.folder, choice, examples=examples)
