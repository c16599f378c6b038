"""The file that describes a pipeline of several models, read and checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from pyfunc.composition.tree import (
    LANGUAGE,
    Node,
    Route,
    TreeError,
    labels_of,
    members_of,
    placed_nodes,
)
from pyfunc.detectors.detector import UNDETERMINED
from pyfunc.detectors.selection import DEFAULT_DETECTOR, DETECTORS, DetectorName
from tasks.business.written_logic import BusinessLogicFile, LookupChoice
from tasks.common.errors import ParameterError
from tasks.composition.types import MAX_MEMBERS, MemberParameters, Tree
from tasks.composition.written_tree import check_languages, check_operators, with_one_spelling
from tasks.composition.yaml_file import load_yaml

_LONGEST_VALUE = 100  # characters of it that an error quotes

_MemberName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][\w-]{0,62}$")]


class MemberChoice(MemberParameters):
    """A fine-tuned model in a composition file.

    Attributes:
        model: A version of `dl_finetuned_model`: a number, an alias or a URI.
    """

    model: Annotated[str, Field(coerce_numbers_to_str=True)]

    @field_validator("max_tokens", mode="before")
    @classmethod
    def _refuse_bool(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"{value!r}; expected a number of tokens")
        return value


class CompositionFile(BusinessLogicFile):
    """What a composition file says.

    Attributes:
        members: The fine-tuned models by name.
        answer: Who answers.
        detector: What detects the language of a text.
    """

    members: Annotated[dict[_MemberName, MemberChoice], Field(min_length=1, max_length=MAX_MEMBERS)]
    answer: Tree
    detector: DetectorName = DEFAULT_DETECTOR

    @field_validator("members")
    @classmethod
    def _refuse_equal_folders(cls, members: dict[str, MemberChoice]) -> dict[str, MemberChoice]:
        # Each has a folder in the artifact, and on some file systems case does not count.
        folded: dict[str, str] = {}
        for name in members:
            other = folded.setdefault(name.lower(), name)
            if other != name:
                raise ValueError(
                    f"{other!r} and {name!r}; expected names that differ in more than case"
                )
        return members

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for place, node in placed_nodes(self.answer):
            if isinstance(node, str):
                self._check_name(place, node)
            elif isinstance(node, Route) and node.by != LANGUAGE:
                self._check_name(f"{place}.route.label_of", node.by)
        if unused := sorted(set(self.members) - set(members_of(self.answer))):
            raise ValueError(f"members: {unused}; expected members that answer names, all of them")
        return self

    def _check_name(self, place: str, name: str) -> None:
        if name not in self.members:
            raise ValueError(f"{place}: {name!r}; expected a member: {list(self.members)}")

    @model_validator(mode="after")
    def _check_tree(self) -> Self:
        check_operators(self.answer)
        codes = DETECTORS[self.detector].codes | {UNDETERMINED.code}
        check_languages(self.answer, self.detector, codes)
        return self


def read_composition(path: Path) -> CompositionFile:
    """Read and check a composition file; its routes get the languages as detectors spell them.

    Args:
        path: A YAML file.

    Raises:
        ParameterError: If it is missing, no YAML, or no composition; with the file and the key.
    """
    content = load_yaml(path)
    if content is None:
        raise ParameterError(f"{path}: empty; expected a composition")
    try:
        found = CompositionFile.model_validate(content)
    except ValidationError as error:
        # Not `from error`: that quotes whatever is there, which may be the address of a source.
        raise ParameterError(f"{path}: {_describe(error)}") from None
    return found.model_copy(update={"answer": with_one_spelling(found.answer)})


def check_labels(
    answer: Node, labels: Mapping[str, Sequence[str]], file: str = "composition"
) -> None:
    """Check that the labels of members fit where they are mixed or routed.

    Args:
        answer: The tree.
        labels: The labels of each member.
        file: The composition file, for the error.

    Raises:
        ParameterError: If they do not, with the place in the tree.
    """
    try:
        labels_of(answer, labels)
    except TreeError as error:
        raise ParameterError(f"{file}: {error}") from error


_EXPECTED_NAME = "expected a lower-case letter, then such letters, digits or _, 63 in all"

# Of pydantic's errors, those that name a class or a regular expression.
_EXPECTED = {
    "model_type": "expected the keys {keys}",
    "string_pattern_mismatch": "expected a letter, then letters, digits, _ or -, 63 in all",
    "string_type": "expected a text",
    "too_short": f"expected 1 to {MAX_MEMBERS} of them",
    "too_long": f"expected 1 to {MAX_MEMBERS} of them",
}

# Likewise, of one place.
_EXPECTED_AT = {
    ("members", "string_type"): "expected a number, an alias or a URI of a version",
    ("lookups", "string_pattern_mismatch"): _EXPECTED_NAME,
    ("decisions", "string_pattern_mismatch"): _EXPECTED_NAME,
}


def _keys_at(place: str) -> list[str]:
    """Return the keys that there may be at a place, those of every composition first."""
    if place.startswith("members."):
        return list(MemberChoice.model_fields)
    if place.startswith("lookups."):
        return list(LookupChoice.model_fields)
    own = CompositionFile.model_fields.keys() - BusinessLogicFile.model_fields.keys()
    return sorted(CompositionFile.model_fields, key=lambda name: name not in own)


def _describe(error: ValidationError) -> str:
    """Return the first problem, with its place; an unknown key before what it leaves out."""
    found = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    parts = (repr(str(part))[1:-1] for part in found["loc"] if part != "[key]")  # in one line
    place = ".".join(parts)
    message = found["msg"].removeprefix("Value error, ")
    keys = _keys_at(place)
    if found["type"] == "value_error":
        # Those of a tree begin with their own place.
        return f"{place}: {message}" if place.startswith(("members", "lookups")) else message
    if found["type"] == "extra_forbidden":
        message = f"unknown key; expected one of {keys}"
    elif found["type"] == "missing":
        message = "missing; expected a value"
    else:
        at = place.partition(".")[0], found["type"]
        expected = _EXPECTED_AT.get(at) or _EXPECTED.get(at[1], message[0].lower() + message[1:])
        message = f"{_shown(found['input'])}; {expected.format(keys=keys)}"
    return f"{place}: {message}" if place else message


def _shown(value: Any) -> str:
    """Return a value as an error quotes it; the address of a source may have a password in it."""
    shown = repr(value)
    if "://" in shown:
        return "an address"
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}…"
