"""A dry run tells what a run would do, and writes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.score_shards import score_shards
from tasks.common.errors import ParameterError, ShardsFailedError
from tasks.scoring import summary as summaries
from tests.support.builders import Trained
from tests.support.http_server import Reply, serving


def test_dry_run_tells_what_a_run_would_do_and_writes_nothing(
    trained: Trained,
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summaries, "STEADY_CALLS", 1)
    output = tmp_path / "out"
    first = score_shards([str(inputs / "part-0.parquet")], str(output), dry_run=True)
    assert not output.exists()
    assert first["expected_seconds"] is None
    score_shards([str(inputs / "part-0.parquet")], str(output))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    again = pd.read_parquet(inputs / "part-0.parquet")
    again.to_parquet(inputs / "part-3.parquet")
    told = score_shards([str(inputs)], str(output), dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    expected = {
        "rows": 40,
        "distinct_texts": 18,
        "duplicates": 14,
        "rows_that_cannot_be_scored": 8,
        "shards_total": 4,
        "shards_to_skip": 1,
        "shards_to_score": 3,
        "expected_model_calls": 12,
        "expected_cache_hits": 12,
        "scored_because": {"new": 3},
    }
    assert told.items() >= expected.items()
    assert told["expected_seconds"] > 0
    assert "Dry run: nothing was written" in capsys.readouterr().out
    summary = score_shards([str(inputs)], str(output))
    assert summary["model_calls"] == told["expected_model_calls"]
    assert summary["cache_hits"] == told["expected_cache_hits"]
    asking = score_shards([str(inputs)], str(output), dry_run=True, all_scores=True)
    assert asking["scored_because"] == {"the parameters changed": 4}
    assert (asking["expected_model_calls"], asking["expected_cache_hits"]) == (18, 14)


def test_dry_run_knows_the_language_policy(trained: Trained, tmp_path: Path) -> None:
    french = "Ce film est une merveille, je le recommande à tous mes amis sans hésiter"
    pd.DataFrame({"text": [french, "a film"]}).to_csv(tmp_path / "rows.csv")
    policy: dict[str, Any] = {
        "language_policy": "reject",
        "languages": ["en"],
        "use_cache": False,
    }
    told = score_shards([str(tmp_path / "rows.csv")], str(tmp_path / "o"), dry_run=True, **policy)
    done = score_shards([str(tmp_path / "rows.csv")], str(tmp_path / "o"), **policy)
    assert (told["rows_that_cannot_be_scored"], told["expected_model_calls"]) == (1, 1)
    assert (done["rejected"], done["model_calls"]) == (1, 1)


def test_dry_run_and_run_reject_by_the_detector_of_the_version(
    trained: Trained, version_with_fasttext: str, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    # gcld3 is sure that it is Dutch.
    pd.DataFrame({"text": ["My laptop is broken"]}).to_csv(rows)
    rejected = {}
    for uri in ("models:/inference_pipeline_model@champion", version_with_fasttext):
        given: dict[str, Any] = {
            "model_uri": uri,
            "language_policy": "reject",
            "languages": ["en"],
            "max_rejected_fraction": 1.0,
        }
        told = score_shards([str(rows)], str(tmp_path / "out"), dry_run=True, **given)
        done = score_shards([str(rows)], str(tmp_path / "out"), **given)
        assert told["rows_that_cannot_be_scored"] == done["rejected"]
        rejected[uri] = done["rejected"]
    assert [*rejected.values()] == [1, 0]


def test_dry_run_of_a_split_detects_languages_as_the_version_of_each_arm_does(
    trained: Trained, version_with_fasttext: str, tmp_path: Path
) -> None:
    rows = {"text": ["My laptop is broken"] * 10, "id": range(10)}
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv")
    given: dict[str, Any] = {
        "inputs": [str(tmp_path / "rows.csv")],
        "output_dir": str(tmp_path / "out"),
        "split": f"{version_with_fasttext}=0.5",
        "split_key": "id",
        "language_policy": "reject",
        "languages": ["en"],
    }
    told = score_shards(dry_run=True, **given)
    rejected = score_shards(**given)["rejected"]
    assert 0 < rejected < 10
    assert told["rows_that_cannot_be_scored"] == rejected


def test_language_that_the_detector_of_the_version_never_reports_is_refused(
    trained: Trained, version_with_fasttext: str, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv", 1)

    def score(model_uri: str, *languages: str) -> None:
        score_shards(
            [str(tmp_path / "rows.csv")],
            str(tmp_path / "out"),
            dry_run=True,
            model_uri=model_uri,
            language_policy="flag",
            languages=[*languages],
        )

    champion = "models:/inference_pipeline_model@champion"
    score(version_with_fasttext, "en", "yue")
    score(champion, "en", "zh-Latn")
    with pytest.raises(ParameterError, match=r"^languages: \['yue'\]; expected codes that the det"):
        score(champion, "en", "yue")
    expected = rf"^languages: \['zh-Latn'\]; .* of {version_with_fasttext} reports, of: af am"
    with pytest.raises(ParameterError, match=expected):
        score(version_with_fasttext, "en", "zh-Latn")


def test_dry_run_without_the_cache_expects_a_call_a_row(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    told = score_shards([str(inputs)], str(tmp_path / "out"), dry_run=True, use_cache=False)
    assert (told["expected_model_calls"], told["expected_cache_hits"]) == (24, 0)


def exit_code(inputs: Any, output: Path, **parameters: Any) -> int:
    try:
        score_shards(inputs, str(output), **parameters)
    except ShardsFailedError as error:
        return error.exit_code
    return 0


def write_rows(path: Path, rows: int, rejected: int = 0) -> None:
    texts = [
        *(f"film {row}" for row in range(rows - rejected)),
        *("\u200b" for _ in range(rejected)),
    ]
    pd.DataFrame({"text": texts, "number": range(rows)}).to_csv(path, index=False)


def nothing_to_do(folder: Path, output: Path) -> dict[str, Any]:
    write_rows(folder / "a.csv", 4, rejected=1)
    score_shards([str(folder)], str(output))
    return {"max_rejected_fraction": 0.25}


def nothing_to_do_and_too_many_were_rejected(folder: Path, output: Path) -> dict[str, Any]:
    return nothing_to_do(folder, output) | {"max_rejected_fraction": 0.24}


def only_failed_and_none_failed(folder: Path, output: Path) -> dict[str, Any]:
    write_rows(folder / "a.csv", 4)
    score_shards([str(folder)], str(output))
    return {"only_failed": True, "max_rejected_fraction": 0.0}


def only_failed_beside_a_file_that_changed(folder: Path, output: Path) -> dict[str, Any]:
    write_rows(folder / "a.csv", 100)
    (folder / "b.csv").write_text("no column of texts\n")
    score_shards([str(folder)], str(output), max_failed_shards=1)
    write_rows(folder / "a.csv", 101)
    write_rows(folder / "b.csv", 10, rejected=5)
    return {"only_failed": True, "max_rejected_fraction": 0.1}


def only_failed_beside_a_file_that_lost_its_texts(folder: Path, output: Path) -> dict[str, Any]:
    parameters = only_failed_beside_a_file_that_changed(folder, output)
    write_rows(folder / "a.csv", 101, rejected=101)
    write_rows(folder / "b.csv", 10)
    return parameters


def all_unreadable(folder: Path, output: Path) -> dict[str, Any]:
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("no column of texts\n")
    return {"max_failed_shards": 1}


def one_of_two_unreadable(folder: Path, output: Path) -> dict[str, Any]:
    write_rows(folder / "a.csv", 4)
    (folder / "b.csv").write_text("no column of texts\n")
    return {}


def one_of_two_unreadable_and_one_allowed(folder: Path, output: Path) -> dict[str, Any]:
    return one_of_two_unreadable(folder, output) | {"max_failed_shards": 1}


def a_done_shard_beside_an_unreadable_file(folder: Path, output: Path) -> dict[str, Any]:
    nothing_to_do(folder, output)
    (folder / "b.csv").write_text("no column of texts\n")
    return {"max_failed_shards": 1, "max_rejected_fraction": 0.24}


def all_rejected_and_none_allowed(folder: Path, output: Path) -> dict[str, Any]:
    write_rows(folder / "a.csv", 3, rejected=3)
    return {"max_rejected_fraction": 0.0}


def exactly_the_share_that_may_be_rejected(folder: Path, output: Path) -> dict[str, Any]:
    write_rows(folder / "a.csv", 100, rejected=29)
    return {"max_rejected_fraction": 0.29}  # 0.29 * 100 is less than 29


def a_file_damaged_after_its_first_shard(folder: Path, output: Path) -> dict[str, Any]:
    texts = [f"film {row % 7}" for row in range(2_100)]
    # In the second of the blocks of 1,000 rows in which a file is read.
    texts[1_990] = "film 3 damaged"
    path = folder / "a.parquet"
    # The survey decodes the smallest column, and the first page of the others.
    table = pa.table({"text": texts, "part": pa.array([0] * len(texts), pa.int8())})
    pq.write_table(
        table,
        path,
        row_group_size=700,
        data_page_size=1_024,
        write_batch_size=50,
        compression="none",
        write_page_checksum=True,
        use_dictionary=False,
    )
    path.write_bytes(path.read_bytes().replace(b"damaged", b"DAMAGED", 1))
    return {"shard_rows": 700, "max_failed_shards": 1}


def a_file_damaged_after_its_first_shard_and_as_many_allowed(
    folder: Path, output: Path
) -> dict[str, Any]:
    return a_file_damaged_after_its_first_shard(folder, output) | {"max_failed_shards": 2}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (nothing_to_do, 0),
        (nothing_to_do_and_too_many_were_rejected, 6),
        (only_failed_and_none_failed, 0),
        (only_failed_beside_a_file_that_changed, 6),
        (only_failed_beside_a_file_that_lost_its_texts, 0),
        (all_unreadable, 6),
        (one_of_two_unreadable, 6),
        (one_of_two_unreadable_and_one_allowed, 0),
        (a_done_shard_beside_an_unreadable_file, 6),
        (all_rejected_and_none_allowed, 6),
        (exactly_the_share_that_may_be_rejected, 0),
        (a_file_damaged_after_its_first_shard, 6),
        (a_file_damaged_after_its_first_shard_and_as_many_allowed, 0),
    ],
)
def test_dry_run_ends_as_the_run_does(
    trained: Trained,
    tmp_path: Path,
    case: Callable[[Path, Path], dict[str, Any]],
    expected: int,
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    parameters = case(folder, output)
    codes = [exit_code([str(folder)], output, dry_run=dry, **parameters) for dry in (True, False)]
    assert codes == [expected, expected]


def test_dry_run_counts_the_rows_of_the_run(trained: Trained, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    asked = only_failed_beside_a_file_that_changed(folder, output) | {"max_rejected_fraction": 1.0}
    told = score_shards([str(folder)], str(output), dry_run=True, **asked)
    done = score_shards([str(folder)], str(output), **asked)
    assert (told["rows"], told["rows_that_cannot_be_scored"]) == (10, 5)
    assert (done["rows_in"], done["rejected"]) == (10, 5)


def test_dry_run_counts_each_address_of_one_name(trained: Trained, tmp_path: Path) -> None:
    with serving(b"no column of texts\n") as server:
        urls = [f"http://{server.host}/export.csv?part={part}" for part in (1, 2)]
        for dry in (True, False):
            assert exit_code(urls, tmp_path / "out", dry_run=dry, max_failed_shards=1) == 6
        server.body = b"text\na film\n"
        server.will(Reply(status=404))  # the first to be asked for
        told = score_shards(
            urls, str(tmp_path / "out"), dry_run=True, max_failed_shards=1, workers=1
        )
    assert told["rows"] == 1


def test_dry_run_outside_a_run_tells_the_same(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    (inputs / "broken.parquet").write_bytes(b"no Parquet")
    asked = ([str(inputs)], str(tmp_path / "out"))
    told = score_shards.fn(*asked, dry_run=True, max_failed_shards=1)
    assert told == score_shards(*asked, dry_run=True, max_failed_shards=1)
    assert list(told["unreadable_files"]) == [str(inputs / "broken.parquet")]
