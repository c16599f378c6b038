from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

from flows.end_to_end import end_to_end
from flows.step_selection import Need, choose_steps
from flows.train_classifier import train_classifier
from tasks.common.errors import ParameterError
from tests.support.builders import Trained

ORDER = ("mix", "bake", "eat")
NEEDS = (
    Need("bake", produced_by="mix", parameter="dough"),
    Need("eat", produced_by="bake", parameter="cake"),
)
NOTHING = {"dough": "", "cake": []}


def choose(*steps: str, **given: object) -> tuple[str, ...]:
    return choose_steps(steps, ORDER, NEEDS, NOTHING | given)


# The choice


def test_all_is_every_step() -> None:
    assert choose("all") == choose("eat", "all") == choose(*ORDER) == ORDER


def test_steps_run_in_their_own_order_and_once() -> None:
    assert choose("bake", "mix", "bake") == ("mix", "bake")


@pytest.mark.parametrize(
    ("steps", "given", "message"),
    [
        ((), {}, "steps: none given; expected all, or some of mix, bake, eat"),
        (("bake",), {}, "dough: missing; the step bake without mix starts from it"),
        (("mix", "eat"), {}, "cake: missing; the step eat without bake starts from it"),
        (
            ("mix", "bake"),
            {"dough": "here"},
            "dough: given, but the step mix makes it anew; expected steps without mix, or no dough",
        ),
    ],
)
def test_refusal_names_the_parameter(
    steps: tuple[str, ...], given: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError) as raised:
        choose(*steps, **given)
    assert str(raised.value) == message


def test_parameter_takes_the_place_of_the_step_before() -> None:
    assert choose("bake", "eat", dough="here") == ("bake", "eat")
    assert choose("eat", dough="here", cake=["there"]) == ("eat",)


# The flows, refused before any work

AnyFlow = Flow[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("flow", "parameters", "message"),
    [
        (train_classifier, {"steps": ["split_data"]}, "data_files: missing"),
        (train_classifier, {"steps": ["fine_tuning_model"]}, "split_folder: missing"),
        (train_classifier, {"steps": ["evaluate_model"]}, "finetuned_run_id: missing"),
        (train_classifier, {"steps": ["register_model"]}, "finetuned_run_id: missing"),
        (
            train_classifier,
            {"steps": ["download_data", "fine_tuning_model"]},
            "split_folder: missing",
        ),
        (train_classifier, {"steps": []}, "steps: none given"),
        (train_classifier, {"data_files": ["a.csv"]}, "data_files: given"),
        (train_classifier, {"finetuned_run_id": "1"}, "finetuned_run_id: given"),
        (end_to_end, {"steps": ["fine_tuning_model"]}, "data_files: missing"),
        (end_to_end, {"steps": ["register_model"]}, "finetuned_run_id: missing"),
        (end_to_end, {"steps": ["inference_pipeline_model"]}, "finetuned_model: missing"),
        (end_to_end, {"steps": ["score"]}, "inputs: missing"),
        (end_to_end, {"steps": ["download_data", "score"]}, "inputs: missing"),
        (end_to_end, {"steps": []}, "steps: none given"),
        (end_to_end, {"finetuned_model": "1"}, "finetuned_model: given"),
    ],
)
def test_flow_names_the_missing_parameter_before_any_work(
    flow: AnyFlow, parameters: dict[str, Any], message: str, home: Path
) -> None:
    with pytest.raises(ParameterError, match=f"^{message}"):
        flow.fn(**parameters)
    assert not home.exists()


@pytest.mark.parametrize("flow", [train_classifier, end_to_end])
def test_unknown_step_is_refused(flow: AnyFlow) -> None:
    with pytest.raises(Exception, match="Input should be 'all', 'download_data'"):
        flow.validate_parameters({"steps": ["nonsense"]})


# Each step by itself


@pytest.mark.usefixtures("new_database")
def test_data_can_be_downloaded_alone(
    prefect_harness: None, home: Path, labelled_csv: Path
) -> None:
    report = train_classifier(steps=["download_data"], source=str(labelled_csv))
    assert report == {"data_files": [str(labelled_csv)]}
    assert end_to_end(steps=["download_data"], source=str(labelled_csv)) == report


def test_split_starts_from_files(trained: Trained, labelled_csv: Path) -> None:
    report = train_classifier(
        steps=["split_data"], source=str(labelled_csv), data_files=[str(labelled_csv)]
    )
    assert report["split_folder"] == trained.training["split_folder"]
    assert report["rows_read"] == report["rows_kept"] == 300


def test_evaluation_starts_from_a_run(trained: Trained) -> None:
    report = train_classifier(
        steps=["evaluate_model"], finetuned_run_id=trained.training["finetuned_run_id"]
    )
    figures = {name for name in trained.training if name.startswith(("test_", "advice"))}
    assert report == {name: trained.training[name] for name in figures}
    assert "test_accuracy" in figures


@pytest.mark.parametrize("flow", [train_classifier, end_to_end])
def test_registration_starts_from_a_run(trained: Trained, flow: AnyFlow) -> None:
    report = flow(steps=["register_model"], finetuned_run_id=trained.training["finetuned_run_id"])
    assert report == {"finetuned_model": trained.training["finetuned_model"]}


@pytest.mark.parametrize("flow", [train_classifier, end_to_end])
def test_run_that_is_not_there_is_named(trained: Trained, flow: AnyFlow) -> None:
    with pytest.raises(Exception, match="no-such-run"):
        flow(steps=["register_model"], finetuned_run_id="no-such-run")


@pytest.mark.slow
def test_pipeline_starts_from_a_fine_tuned_model(trained: Trained) -> None:
    report = end_to_end(
        steps=["inference_pipeline_model"], finetuned_model=trained.training["finetuned_model"]
    )
    assert report["inference_pipeline_model"] == trained.pipeline["inference_pipeline_model"]
    assert report["reused"]


def test_scoring_starts_from_files(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("body,id\na great film,1\n,2\n")
    report = end_to_end(
        steps=["score"],
        inputs=[str(rows)],
        text_column="body",
        output_dir=str(tmp_path / "out"),
    )
    assert (report["rows_in"], report["scored"], report["rejected"]) == (2, 1, 1)
    assert report["model_uri"] == trained.pipeline["inference_pipeline_model"]
    shown = capsys.readouterr().out
    assert "rows scored" in shown
    assert "make mlflow-ui" in shown


@pytest.mark.usefixtures("new_database")
def test_a_plain_pipeline_is_not_built_to_be_scored_with(home: Path, prefect_harness: None) -> None:
    with pytest.raises(ParameterError, match=r"^pipeline: plain answers with bare labels"):
        end_to_end(pipeline="plain")
    assert not (home / "data").exists()


@pytest.mark.usefixtures("new_database")
def test_an_engine_without_the_precision_is_refused_before_anything_is_trained(
    home: Path, prefect_harness: None
) -> None:
    with pytest.raises(ParameterError, match=r"^precision: torch has no int8 here"):
        end_to_end(engine="torch", precision="int8")
    assert not (home / "data").exists()


@pytest.mark.usefixtures("new_database")
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model_uri": "no such!"}, r"^model_uri: 'no such!'; expected a number, an alias"),
        (
            {"output_dir": __file__},
            r"^output_dir: .*test_step_selection.py is a file; expected a folder",
        ),
        ({"inputs": [""]}, r"^inputs: none given"),
    ],
)
def test_what_the_scores_need_is_refused_before_anything_is_trained(
    home: Path, prefect_harness: None, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        end_to_end(source=str(home / "missing.csv"), **parameters)
    assert not (home / "data").exists()
