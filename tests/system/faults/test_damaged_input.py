"""Files that are broken, and texts that break the model: the rest is scored."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from tests.support.scoring_command import Scoring
from tests.system.faults.rows import write_csv, write_rows
from tests.system.faults.whole import check_tidy, check_whole

POISON = "xylophonpoison"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("campaign")]


def test_a_truncated_file_fails_alone_and_is_scored_when_it_is_mended(
    scoring: Scoring, tmp_path: Path
) -> None:
    inputs = write_rows(tmp_path / "in", 200, seed=2)
    whole = (inputs / "c.parquet").read_bytes()
    (inputs / "c.parquet").write_bytes(whole[:-100])
    ended = scoring.run()
    assert ended.code == 6
    assert ended.error.startswith("1 of 3 shards failed; the first, c-")
    assert f"{inputs / 'c.parquet'}: " in ended.error
    before = check_whole(scoring.output)
    assert len(before.records) == 2

    (inputs / "c.parquet").write_bytes(whole)
    summary = scoring.run_to_the_end()
    assert (summary["shards_skipped"], summary["shards_done"]) == (2, 3)
    assert before.records.items() <= check_whole(scoring.output).records.items()
    check_tidy(scoring.output)


def test_a_malformed_line_is_rejected_with_its_number_and_its_bytes(
    scoring: Scoring, tmp_path: Path
) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "a.csv").write_bytes(
        b'text,note\n"a film\nof two lines",1\na film,2,3\ncaf\xe9,4\nanother film,5\n'
    )
    (inputs / "b.jsonl").write_bytes(b'{"text": "a film"}\n{"text": "\\ud800"}\n{"text": "film"}\n')
    ended = scoring.run()
    assert ended.code == 0
    assert "Traceback" not in ended.said
    rejected = pq.read_table(scoring.output / "rejected", columns=["line", "raw", "step", "reason"])
    assert [tuple(row.values()) for row in rejected.to_pylist()] == [
        (4, b"a film,2,3", "read", "3 cells; expected 2"),
        (5, b"caf\xe9,4", "read", "not UTF-8"),
        (2, b'{"text": "\\ud800"}', "read", "a lone surrogate"),
    ]
    predictions = pq.read_table(scoring.output / "predictions", columns=["text", "row"])
    assert predictions["text"].to_pylist() == [
        "a film\nof two lines",
        "another film",
        "a film",
        "film",
    ]
    assert predictions["row"].to_pylist() == [1, 4, 1, 3]
    check_whole(scoring.output)
    check_tidy(scoring.output)


def poison(home: Path) -> None:
    """Teach the registered pipeline's tokenizer a token that its embeddings have no row for."""
    tokenizers = list(home.glob("mlartifacts/**/classifier/tokenizer.json"))
    assert tokenizers
    for path in tokenizers:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, local_files_only=True)
        assert tokenizer.add_tokens([POISON]) == 1
        tokenizer.save_pretrained(path.parent)


def test_a_text_that_makes_the_model_raise_is_rejected_alone(
    scoring: Scoring, tmp_path: Path
) -> None:
    poison(scoring.home)
    inputs = tmp_path / "in"
    inputs.mkdir()
    values = [f"a film, number {number}" for number in range(60)]
    values[37] = f"a {POISON} film"
    write_csv(inputs / "a.csv", values)
    summary = scoring.run_to_the_end()
    assert (summary["scored"], summary["rejected"]) == (59, 1)
    assert summary["rejected_because"] == {"predict: the model failed (IndexError)": 1}
    rejected = pq.read_table(scoring.output / "rejected")
    assert rejected["row"].to_pylist() == [38]
    check_whole(scoring.output)
    check_tidy(scoring.output)
