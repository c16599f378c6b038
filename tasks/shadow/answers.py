"""Find what a version answered as a shadow, to be compared with the present one."""

from pathlib import Path

from tasks.comparison.paired_rows import match_shards
from tasks.comparison.types import RowChoice
from tasks.comparison.versions import find_pair
from tasks.shadow.types import FoundShadow, shadow_folder
from tasks.tracking import registry
from tasks.tracking.names import CHALLENGER, PIPELINE_MODEL, PREVIOUS


def find_answers(output_dir: Path, present: str, other: str) -> FoundShadow:
    """Return where a version answered rows of an output as a shadow, or why there is nothing.

    Args:
        output_dir: The output folder.
        present: The version that answers today.
        other: The other version, or `previous` for the champion before the present one.

    Raises:
        ParameterError: If a version is not there, is plain, or if both are the same.
    """
    if other == CHALLENGER and CHALLENGER not in registry.get_aliases(PIPELINE_MODEL):
        return FoundShadow(reason="no version is challenger")
    if other == PREVIOUS:
        number = registry.previous_champion_number(PIPELINE_MODEL)
        if number is None:
            return FoundShadow(reason="no version was champion before")
        other = str(number)
    found = find_pair(present, other)
    folder = shadow_folder(output_dir, found[1].uri)
    versions = (found[0].uri, found[1].uri)
    if not match_shards(output_dir, folder, RowChoice(versions=versions))[0]:
        reason = f"{folder} has no answers of {versions[1]} to rows that {versions[0]} answered"
        return FoundShadow(reason=reason)
    return FoundShadow(versions=versions, folder=folder)
