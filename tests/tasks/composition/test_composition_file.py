"""A composition file is read as it is written, and each fault in it is one line."""

import os
from pathlib import Path

import pytest

from pyfunc.composition.tree import Average, Cascade, Route
from tasks.common.errors import ParameterError
from tasks.composition.composition_file import check_labels, read_composition

WHOLE = """
members:
  quick: {model: 9}
  film: {model: models:/dl_finetuned_model@champion, precision: int8}
  long: {model: models:/dl_finetuned_model/8, max_tokens: 256, engine: openvino}
  kind: {model: latest}
answer:
  route: {label_of: kind}
  to:
    rotten_tomatoes: {cascade: [quick, film], least: auto}
    no: {average: [film, long], weights: [1, 2]}
  else: film
"""

ONE = "members:\n  film: {model: 1}\n"
TWO = f"{ONE}  long: {{model: 2}}\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "reviews.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = read_composition(written(tmp_path, WHOLE))
    assert found.answer == Route(
        "kind",
        (
            ("rotten_tomatoes", Cascade(("quick", "film"), None)),
            ("no", Average(("film", "long"), (1.0, 2.0))),  # no bool, as YAML would have it
        ),
        "film",
    )
    assert {name: member.model for name, member in found.members.items()} == {
        "quick": "9",
        "film": "models:/dl_finetuned_model@champion",
        "long": "models:/dl_finetuned_model/8",
        "kind": "latest",
    }
    assert found.members["film"].precision == "int8"
    assert (found.members["long"].max_tokens, found.members["long"].engine) == (256, "openvino")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("members: [", r"line 1: .*; expected a composition"),
        (f"{ONE}answer: 2026-13-45", r"answer: '2026-13-45'; expected a member"),
        ("answer: !!int abc", r"no YAML \(invalid literal .*\); expected a composition"),
        ("answer: !!bool abc", r"no YAML \('abc'\); expected a composition"),
        ("answer: !!timestamp abc", r"no YAML \(.*\); expected a composition"),
        (
            "members:\n  film: {model: 1, max_tokens: yes}\nanswer: film",
            r"members.film.max_tokens: 'yes'; input should be a valid integer",
        ),
        (
            "members:\n  film: {model: 1, max_tokens: true}\nanswer: film",
            r"members.film.max_tokens: True; expected a number of tokens",
        ),
        (
            "members:\n  film: {model: 1}\n  Film: {model: 2}\nanswer: {vote: [film, Film]}",
            r"members: 'film' and 'Film'; expected names that differ in more than case",
        ),
        (
            'members:\n  "fi\\nlm": {model: 1}\nanswer: film',
            r"members.fi\\nlm: 'fi\\nlm'; expected a letter, then letters",
        ),
        ("? [members]\n: 1", r"line 1: a key is a list or has keys itself; expected a compos"),
        (
            f"{ONE}answer: film\n---\nanswer: film",
            r"line 4: expected a single document in the stream, but found another document; exp",
        ),
        (
            "members:\n  film: {modle: 1}\nanswer: film",
            r"members.film.modle: unknown key; expected one of",
        ),
        (
            f"{ONE}answer: {{vote: [film, {{vote: [film, flim]}}]}}",
            r"answer.vote\[1\].vote\[1\]: 'flim'; expected a member",
        ),
        (b"\xff\xfe\x00", r"no YAML \(.*utf-8.*\); expected a composition"),
        ("[" * 60_000, r".*; expected a composition"),
        ("a: 1\n" * 20_000, r"larger than 65536 bytes; expected a composition"),
        ("", r"empty; expected a composition"),
        ("- film", r"\['film'\]; expected the keys \['members', 'answer', 'detector', 'l"),
        ("answer: film", r"members: missing; expected a value"),
        (ONE, r"answer: missing; expected a value"),
        (f"{ONE}answer: film\nmember: 1", r"member: unknown key; expected one of \[.*'members'"),
        (
            "members:\n  film: {model: 1, precison: int8}\nanswer: film",
            r"members.film.precison: unknown key; expected one of \[.*'precision'",
        ),
        (
            "members:\n  film: {model: 1, precision: int9}\nanswer: film",
            r"members.film.precision: 'int9'; input should be 'auto', 'f32', 'bf16' or 'int8'",
        ),
        ("members:\n  film: {}\nanswer: film", r"members.film.model: missing; expected a value"),
        ("members:\n  film: 1\nanswer: film", r"members.film: 1; expected the keys .*'model'\]"),
        ("members: {}\nanswer: film", r"members: \{\}; expected 1 to 16 of them"),
        (
            "members:\n  film: {model: 1, max_tokens: -1}\nanswer: film",
            r"members.film.max_tokens: -1; input should be greater than or equal to 0",
        ),
        (
            "members:\n  no-way!: {model: 1}\nanswer: no-way!",
            r"members.no-way!: 'no-way!'; expected a letter, then letters, digits",
        ),
        (f"{ONE}answer: flim", r"answer: 'flim'; expected a member: \['film'\]"),
        (
            f"{TWO}answer: film",
            r"members: \['long'\]; expected members that answer names, all of them",
        ),
        (
            f"{ONE}answer: {{cascade: [film, film], least: 70}}",
            r"answer.least: 70; expected a number between 0 and 1, or auto",
        ),
        (
            f"{ONE}answer: {{route: language, to: {{en: film}}}}",
            r"answer.else: missing; expected it beside route",
        ),
        *(
            (
                f"{TWO}answer: {{cascade: [film, long], least: {least}}}",
                rf"answer.least: {least}; expected a number between 0 and 1, or auto",
            )
            for least in (0, 1)
        ),
        (
            f"{TWO}answer: {{average: [film, long, film]}}",
            r"answer.average\[2\]: 'film' again; expected each part once, and weights for one",
        ),
        (
            f"{TWO}answer: {{route: language, to: {{en: {{vote: [long, long]}}}}, else: film}}",
            r"answer.to.en.vote\[1\]: 'long' again; expected each part once",
        ),
        (
            f"{TWO}answer: {{cascade: [film, long, film], least: auto}}",
            r"answer.cascade\[2\]: 'film' again; expected each part once",
        ),
        (
            f"{TWO}answer: {{vote: [film, {{vote: [film, long]}}, {{vote: [film, long]}}]}}",
            r"answer.vote\[2\]: an equal operator again; expected each part once",
        ),
        (
            f"{TWO}answer: {{route: language, to: {{en: film, he: long, iw: film}}, else: film}}",
            r"answer.to: 'he' and 'iw' are one language; expected one of them",
        ),
        (
            f"{ONE}answer: &again {{vote: [film, *again]}}",
            r"line 3: \*again: expected no alias; expected a composition",
        ),
        (
            "members:\n  film: {model: 1}\n  film: {model: 2}\nanswer: film",
            r"line 3: the key 'film' is there twice; expected a composition",
        ),
    ],
)
def test_a_fault_is_one_line_with_file_and_place(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ParameterError, match=f"^{path}: {reason}") as caught:
        read_composition(path)
    assert "\n" not in str(caught.value)


def test_values_are_read_as_yaml_1_2_has_them(tmp_path: Path) -> None:
    models = {"on": "010", "no": "1_0", "hex": "0x3", "date": "2026-11-29", "whole": "12"}
    lines = [f"  {name}: {{model: {model}}}\n" for name, model in models.items()]
    content = f"members:\n{''.join(lines)}answer: {{cascade: [{', '.join(models)}], least: .5}}"
    found = read_composition(written(tmp_path, content))
    assert {name: member.model for name, member in found.members.items()} == models
    assert found.answer == Cascade(tuple(models), 0.5)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"none.yaml: No such file .*expected a composition"):
        read_composition(tmp_path / "none.yaml")


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ParameterError, match=r"pipe.yaml: no regular file; expected a compos"):
        read_composition(tmp_path / "pipe.yaml")


def test_torch_has_no_int8_for_a_member_either(tmp_path: Path) -> None:
    content = "members:\n  film: {model: 1, engine: torch, precision: int8}\nanswer: film"
    with pytest.raises(ParameterError, match="torch has no int8"):
        read_composition(written(tmp_path, content))


def test_labels_that_do_not_fit_name_the_file(tmp_path: Path) -> None:
    answer = Average(("film", "kind"), (1.0, 1.0))
    labels = {"film": ["bad", "good"], "kind": ["imdb", "rotten"]}
    with pytest.raises(ParameterError, match=r"^c.yaml: answer.average\[1\]: the labels \['imdb'"):
        check_labels(answer, labels, "c.yaml")
