"""Commands in processes of their own, as users start them."""

from pathlib import Path

from prefect.settings import PREFECT_API_URL

from tasks.common.settings import REPOSITORY
from tests.support.builders import Trained
from tests.support.commands import run_command, run_in_project
from tests.support.prefect_server import copy_database
from tests.support.queues import write_two_queues
from tests.support.scoring_command import state_folder


def test_command_scores_a_file(trained: Trained, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text\na great film\n")
    process = run_command(
        "flows.score_shards",
        "--inputs",
        rows,
        "--output-dir",
        tmp_path / "out",
        home=trained.home,
        PREFECT_API_URL=str(PREFECT_API_URL.value()),
    )
    assert process.returncode == 0, process.stderr
    assert "Scored shards" in process.stdout
    assert "a great film" not in process.stdout + process.stderr
    assert len(list((tmp_path / "out" / "predictions").glob("*.parquet"))) == 1


def test_command_names_a_bad_row_with_a_server_of_its_own(
    new_database: None, prefect_database: Path, home: Path, tmp_path: Path
) -> None:
    copy_database(prefect_database, home / "prefect" / "prefect.db")
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\na,x\n ,y\n")
    process = run_command(
        "flows.train_classifier",
        "--steps",
        "split_data",
        "--data-files",
        rows,
        home=home,
        PREFECT_HOME=str(home / "prefect"),
        PYTHONPROFILEIMPORTTIME="1",
    )
    assert process.returncode == 3, process.stderr
    # Importing it takes more than a second, and the server is another process.
    assert "prefect.client" in process.stderr
    assert "prefect.server" not in process.stderr
    assert "View at" not in process.stderr  # it has no user interface
    lines = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert lines == [f"error: {rows}: row 2: the text is empty; expected a text with words"]
    assert "Traceback" not in process.stderr


def test_what_orchestrates_nothing_starts_no_server(trained: Trained, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text\na great film\n")
    home = state_folder(trained.home, tmp_path / "var")
    scoring = ("--inputs", rows, "--output-dir", tmp_path / "out", "--dry-run")
    for arguments in (("promote_pipeline", "--version", "1"), ("score_shards", *scoring)):
        process = run_command(
            f"flows.{arguments[0]}", *arguments[1:], home=home, PREFECT_API_URL=""
        )
        assert process.returncode == 0, process.stderr
        assert "Traceback" not in process.stderr
    assert "expected model calls" in process.stdout
    assert not (home / "logs").exists()
    assert not list(home.rglob("prefect.db"))


def test_a_file_becomes_the_defaults_of_every_flow(tmp_path: Path) -> None:
    write_two_queues(tmp_path / "my tickets.csv")
    started = run_in_project(
        tmp_path, "flows.start_project", "--source", str(tmp_path / "my tickets.csv")
    )
    assert started.returncode == 0, started.stderr
    assert "2, rows of each: billing 20, login 20" in started.stdout
    assert "Prefect" not in started.stderr  # no server
    text = (tmp_path / "millstream.toml").read_text()
    assert 'name = "my_tickets"\nsource = "my tickets.csv"\ntext_column = "body"\n' in text

    checked = run_in_project(tmp_path, "deployments.check_config")
    assert checked.returncode == 0
    assert checked.stdout == (
        f"valid: the variables of the environment, {REPOSITORY}/prefect.yaml, "
        f"{tmp_path}/millstream.toml\n"
    )
    shown = run_in_project(tmp_path, "flows.train_classifier", "--help").stdout
    assert f"[default: {tmp_path}/my tickets.csv]" in " ".join(shown.replace("│", "").split())
    shown = run_in_project(tmp_path, "flows.score_shards", "--help").stdout
    assert "models:/my_tickets_inference_pipeline_model@champion" in "".join(
        shown.replace("│", "").split()
    )

    assert "[default: queue]" not in shown  # files to score have no labels

    again = run_in_project(
        tmp_path, "flows.start_project", "--source", str(tmp_path / "my tickets.csv")
    )
    assert again.returncode == 2
    assert again.stderr == (
        f"error: {tmp_path}/millstream.toml: is there; expected none: --overwrite replaces it, "
        "MILLSTREAM_PROJECT=another.toml keeps it\n"
    )
