"""What a user does in a browser, from an empty state folder on; `make browser-test` runs it.

The tests tell one story: each goes on where the one before it ended. The pictures that they take on
the way lie in `var/browser/taken`; at the end they are copied to the folder that
`MILLSTREAM_PICTURES` names, if it does. `var/browser/ends` has a picture of how each test ended,
and what the servers refused.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import httpx
import pandas as pd
import pytest
from playwright.sync_api import Page, Response, expect

from flows.score_shards import score_shards
from tasks.common.settings import REPOSITORY
from tasks.dataset.sources import fetch_tables
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.operation import ANSWER_S, Operation, in_operation, until
from tests.system.browser.chromium import open_window
from tests.system.browser.prefect_ui import PrefectUI

pytestmark = pytest.mark.timeout(1_200)

TAKEN = REPOSITORY / "var" / "browser" / "taken"
ENDS = REPOSITORY / "var" / "browser" / "ends"

FIRST_RUN, SCORING = "first-run", "reviews-of-november"
ROWS_A_FILE, FILES, EMPTY_ROWS, SHARD_ROWS = 200, 3, 9, 100
SHARDS = FILES * ROWS_A_FILE // SHARD_ROWS

# Few tokens, and engines that need no conversion: the build takes a fraction of the usual time. A
# single member decides, so that the whole is as accurate as its best.
COMPOSITION = """
members:
  quick: {model: 1, max_tokens: 4, engine: torch, precision: f32}
  film: {model: 1, max_tokens: 6, engine: torch, precision: f32}
answer: {route: {label_of: quick}, to: {positive: film}, else: film}
"""


@dataclass(frozen=True)
class Demo:
    """What the story is told with.

    Attributes:
        folder: Holds the state folder and all files.
        started: When the first command was typed, on the clock of `time.monotonic`.
    """

    folder: Path
    started: float

    @property
    def reviews(self) -> Path:
        return self.folder / "reviews"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def scored(self) -> Path:
        return self.folder / "scored"


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    # Its path is short, for the pictures show it.
    with TemporaryDirectory(prefix="millstream-", dir="/tmp") as folder:
        write_reviews(Path(folder))
        yield Demo(Path(folder), time.monotonic())


@pytest.fixture(scope="module")
def operation(demo: Demo) -> Iterator[Operation]:
    """Everything up."""
    home = demo.folder / "var"
    home.mkdir()
    with in_operation(home) as operation:
        yield operation


@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    ENDS.mkdir(parents=True, exist_ok=True)
    with open_window() as window, (ENDS / "refusals.log").open("w", buffering=1) as refusals:
        # The notice of one is gone before the picture of a test's end is taken.
        window.on("response", lambda answer: note_refusal(answer, refusals))
        yield window
    # Not before: what changes files of the repository meanwhile is told of by the models.
    if pictures := os.environ.get("MILLSTREAM_PICTURES"):
        shutil.copytree(TAKEN, REPOSITORY / pictures, dirs_exist_ok=True)


@pytest.fixture
def page(window: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The one window for all tests."""
    yield window
    window.screenshot(path=ENDS / f"{request.node.name}.png")


@pytest.fixture
def ui(page: Page, operation: Operation) -> PrefectUI:
    return PrefectUI(page, f"http://127.0.0.1:{operation.prefect_port}")


def write_reviews(folder: Path) -> None:
    """Write what is scored: files of reviews in which a few texts are missing, and a large one."""
    (reviews,) = fetch_tables("rotten_tomatoes")
    rows = pd.read_csv(reviews).sample(frac=1, random_state=7, ignore_index=True)
    (folder / "archive").mkdir()
    rows.to_csv(folder / "archive" / "reviews.csv", index=False)
    rows = rows[: FILES * ROWS_A_FILE]
    rows.loc[rows.sample(EMPTY_ROWS, random_state=7).index, "text"] = None
    (folder / "reviews").mkdir()
    for file in range(FILES):
        part = rows[file * ROWS_A_FILE : (file + 1) * ROWS_A_FILE]
        part.to_csv(folder / "reviews" / f"2026-11-{file + 1:02}.csv", index=False)


def take(page: Page, name: str, drawing_ms: float = 0) -> None:
    """Take a picture of what the window shows.

    Args:
        page: The window.
        name: Of the picture.
        drawing_ms: How long a canvas or the browser itself draws, of which no element tells.
    """
    page.mouse.move(0, 0)
    page.wait_for_timeout(drawing_ms)
    page.screenshot(path=TAKEN / f"{name}.png")


def note_refusal(answer: Response, log: TextIO) -> None:
    """Write down what a server refused or could not answer."""
    if answer.status >= 400:
        clock = time.strftime("%H:%M:%S")
        log.write(f"{clock} {answer.status} {answer.request.method} {answer.url}\n")


def tell(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")


def fill_scoring(ui: PrefectUI, inputs: Path, output: Path) -> None:
    ui.fill_list("inputs", str(inputs))
    ui.fill(output_dir=str(output))


def figure(ui: PrefectUI, name: str) -> str:
    """Return a figure of the summary on the page."""
    row = ui.main.get_by_role("row").filter(has=ui.page.get_by_role("cell", name=name, exact=True))
    return row.get_by_role("cell").nth(1).inner_text()


def test_from_make_up_in_an_empty_folder_to_a_first_run_that_trained_and_scored(
    demo: Demo, operation: Operation, ui: PrefectUI
) -> None:
    tell(f"from make up to servers that work: {time.monotonic() - demo.started:.0f} s")
    ui.open_deployments()
    take(ui.page, "deployments")
    ui.open_form("end-to-end", "train-and-score")
    ui.fill(sample_size="1000", learning_rate="0.0003")
    run = ui.submit(FIRST_RUN)
    ui.expect_state("Completed")
    tell(f"from make up to a first run completed: {time.monotonic() - demo.started:.0f} s")
    ui.open_run(run)
    take(ui.page, "first-run", drawing_ms=3_000)


def test_the_form_explains_each_parameter_and_lists_the_choices(ui: PrefectUI, demo: Demo) -> None:
    ui.open_form("score-shards", "score-files")
    for parameter in score_shards.parameters.properties:
        expect(ui.field(parameter).locator("p").first).not_to_be_empty()
    fill_scoring(ui, demo.reviews, demo.scored)
    ui.scroll_to("inputs")
    take(ui.page, "form")
    ui.scroll_to("language_policy")
    expect(ui.open_choices("language_policy")).to_have_text(["score", "flag", "reject"])
    take(ui.page, "form-choices", drawing_ms=1_000)


def test_the_form_refuses_a_number_out_of_bounds_beside_its_field(
    ui: PrefectUI, demo: Demo
) -> None:
    ui.open_form("score-shards", "score-files")
    fill_scoring(ui, demo.reviews, demo.scored)
    ui.fill(shard_rows="0")
    ui.press_submit()
    field = ui.main.get_by_label("shard_rows")
    expect(field).to_be_focused()  # by the browser, which shows beside it what is wrong
    assert "greater than or equal to 1" in field.evaluate("field => field.validationMessage")
    ui.scroll_to("shard_rows")
    field.evaluate("field => field.reportValidity()")  # once more: it went away with the scrolling
    take(ui.page, "refused-number", drawing_ms=1_000)


def test_the_form_refuses_a_missing_value_by_its_name(ui: PrefectUI) -> None:
    ui.open_form("score-shards", "score-files")
    ui.press_submit()
    for parameter in ("inputs", "output_dir"):
        problem = f"'{parameter}' is a required property"
        expect(ui.field(parameter).get_by_text(problem)).to_be_visible()
    ui.scroll_to("inputs")
    take(ui.page, "refused-missing", drawing_ms=1_000)


def test_what_only_the_run_can_refuse_it_refuses_at_once_by_its_name(
    ui: PrefectUI, demo: Demo
) -> None:
    ui.open_form("score-shards", "score-files")
    fill_scoring(ui, demo.reviews, demo.scored)
    ui.open_choices("language_policy").get_by_text("reject").click()
    run = ui.submit("without-languages")
    ui.expect_state("Failed")
    ui.open_run(run)
    ui.main.get_by_role("tab", name="Details").click()
    expect(ui.main.get_by_text("languages: none given")).to_be_visible()
    take(ui.page, "refused-by-run", drawing_ms=3_000)


def test_a_run_with_changed_parameters_completes_and_leaves_its_artifacts(
    ui: PrefectUI, demo: Demo
) -> None:
    ui.open_form("score-shards", "score-files")
    fill_scoring(ui, demo.reviews, demo.scored)
    ui.fill_optional("label_column", "label")
    ui.fill(shard_rows=str(SHARD_ROWS))
    ui.scroll_to("label_column")
    take(ui.page, "form-filled")
    run = ui.submit(SCORING)
    ui.expect_state("Completed")
    ui.open_run(run)
    ui.open_artifacts()
    for key in ("scoring-progress", "scoring-summary", "scoring-report", "scored-files"):
        expect(ui.main.get_by_role("link", name=key)).to_be_visible()
    take(ui.page, "artifacts", drawing_ms=3_000)
    ui.open_artifact("scoring-summary", SCORING)
    assert figure(ui, "rows in") == str(FILES * ROWS_A_FILE)
    assert figure(ui, "rejected") == str(EMPTY_ROWS)
    take(ui.page, "summary")


def test_the_link_of_the_artifact_opens_the_report_within_mlflow(
    ui: PrefectUI, operation: Operation
) -> None:
    tidy_mlflow(ui.page, operation)
    ui.open_run(run_named(operation, SCORING))
    ui.open_artifacts()
    ui.open_artifact("scoring-report", SCORING)
    ui.main.get_by_role("link", name="Report in MLflow").click()
    page = ui.page
    expect(page).to_have_url(re.compile(f"127.0.0.1:{operation.mlflow_port}/.*report.html"))
    report = page.frame_locator("iframe")
    expect(report.get_by_text("Scoring report")).to_be_visible()
    expect(report.get_by_text(f"{FILES * ROWS_A_FILE}", exact=True).first).to_be_visible()
    take(page, "report")


def test_mlflow_shows_the_version_that_is_champion(page: Page, operation: Operation) -> None:
    page.goto(f"http://127.0.0.1:{operation.mlflow_port}/#/models/inference_pipeline_model")
    version = page.get_by_role("row").filter(has=page.get_by_role("link", name="Version 1"))
    expect(version.get_by_text("@ champion")).to_be_visible()
    take(page, "model")


def test_a_run_is_copied_and_skips_what_is_done(ui: PrefectUI, operation: Operation) -> None:
    ui.open_run(run_named(operation, SCORING))
    ui.expect_state("Completed")
    ui.choose("Copy to new run")
    expect(ui.main.get_by_label("shard_rows")).to_have_value(str(SHARD_ROWS))
    again = f"{SCORING}-again"
    ui.submit(again)
    ui.expect_state("Completed")
    ui.open_artifacts()
    ui.open_artifact("scoring-summary", again)
    assert figure(ui, "shards done before") == str(SHARDS)
    assert figure(ui, "texts through the model") == "0"
    take(ui.page, "summary-again")


def test_a_run_is_cancelled_while_it_scores(
    ui: PrefectUI, operation: Operation, demo: Demo
) -> None:
    output = demo.folder / "archive-scored"
    ui.open_form("score-shards", "score-files")
    fill_scoring(ui, demo.archive, output)
    ui.fill(shard_rows="500", batch_tokens="32")
    ui.main.get_by_label("use_cache").click()
    run = ui.submit("archive")
    until(lambda: list(output.glob("predictions/*")), "a first shard", patience=300)
    ui.expect_state("Running")
    ui.choose("Cancel")
    take(ui.page, "cancel")
    ui.page.get_by_role("alertdialog").get_by_role("button", name="Cancel Flow Run").click()
    clicked = time.monotonic()
    assert operation.wait_for(run)["name"] == "Cancelled"
    seconds = time.monotonic() - clicked
    tell(f"from the click on Cancel Flow Run to the end of the run: {seconds:.1f} s")
    assert seconds < 30  # on busy cores; ten on idle ones
    ui.expect_state("Cancelled")
    ui.open_run(run)
    take(ui.page, "cancelled", drawing_ms=3_000)


def test_the_form_takes_a_composition_file_and_the_run_builds_what_it_describes(
    ui: PrefectUI, operation: Operation, demo: Demo
) -> None:
    path = demo.folder / "composition.yaml"
    path.write_text(COMPOSITION, encoding="utf-8")
    ui.open_form("build-inference-pipeline", "build")
    ui.fill(composition=str(path))
    run = ui.submit("composed")
    ui.expect_state("Completed")
    tags = tags_of(operation, version="2")
    assert json.loads(tags["answer"])["route"] == {"label_of": "quick"}
    members = json.loads(tags["members"])
    assert {name: member["decides"] for name, member in members.items()} == {
        "quick": False,
        "film": True,
    }
    assert "models:/inference_pipeline_model/2" in operation.log_of(run)


def tags_of(operation: Operation, version: str) -> dict[str, str]:
    """Return the tags of a version of the pipeline."""
    answer = httpx.get(
        f"http://127.0.0.1:{operation.mlflow_port}/api/2.0/mlflow/model-versions/get",
        params={"name": PIPELINE_MODEL, "version": version},
        timeout=ANSWER_S,
    )
    answer.raise_for_status()
    return {tag["key"]: tag["value"] for tag in answer.json()["model_version"]["tags"]}


def run_named(operation: Operation, name: str) -> str:
    runs = operation.runs_of("score-shards/score-files")
    return next(str(run["id"]) for run in runs if run["name"] == name)


def tidy_mlflow(page: Page, operation: Operation) -> None:
    """Choose MLflow's view for models that are trained, without an assistant beside it."""
    page.goto(f"http://127.0.0.1:{operation.mlflow_port}")
    page.get_by_role("button", name="Model training").click()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_role("button", name="MLflow Assistant")).to_be_visible()
