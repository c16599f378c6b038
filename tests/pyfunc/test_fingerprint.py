import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.detectors.selection import DETECTORS, DetectorName
from pyfunc.engines import openvino
from pyfunc.engines.engine import Logits
from pyfunc.fingerprint import _digest_files, digest_code, digest_folder, fingerprint_pipeline
from pyfunc.spec import EngineName, Precision, Variant
from pyfunc.tokens import TokenBatch
from tests.support.builders import build_artifact, single_spec, weights_of

COMPUTED: list[tuple[EngineName, Precision]] = [
    ("openvino", "f32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("torch", "f32"),
]


@pytest.fixture
def artifact(tmp_path: Path, tiny_classifier: Path, tiny_ir: Path) -> Path:
    return build_artifact(tmp_path / "artifact", tiny_classifier, converted=tiny_ir)


class Idle:
    """An engine that is never asked."""

    callers = 1
    streams = 1

    def __init__(self, variant: Variant, device: str) -> None:
        self.variant = variant
        self.device = device

    def logits(self, batch: TokenBatch) -> Logits:
        raise NotImplementedError


def fingerprint(
    artifact: Path,
    *,
    max_tokens: int = 16,
    temperature: float = 1.0,
    engine: EngineName = "torch",
    precision: Precision = "f32",
    device: str = "cpu",
    origin: str = "models:/dl_finetuned_model/1",
    detector: DetectorName = "gcld3",
) -> str:
    variant = Variant(engine, precision)
    spec = single_spec(
        finetuned_model_uri=origin,
        max_tokens=max_tokens,
        variants=(variant,),
        temperature=temperature,
    )
    spec = replace(spec, detector=detector)
    return fingerprint_pipeline(artifact, spec, {"model": Idle(variant, device)})


def edit_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def flip_the_last_bit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


def change_a_weight(artifact: Path) -> None:
    flip_the_last_bit(weights_of(artifact) / "classifier" / "model.safetensors")


def change_the_tokenizer(artifact: Path) -> None:
    edit_json(weights_of(artifact) / "classifier" / "tokenizer.json", version="1.1")


def change_the_labels(artifact: Path) -> None:
    edit_json(
        weights_of(artifact) / "classifier" / "config.json", id2label={"0": "bad", "1": "good"}
    )


def change_the_code(artifact: Path) -> None:
    with (artifact / "pyfunc" / "detectors" / "detector.py").open("a") as file:
        file.write("\n")


def rename_the_last_of_the_code(artifact: Path) -> None:
    last = max((artifact / "pyfunc").glob("*.py"))
    last.rename(last.with_name(f"z{last.name}"))


def add_to_the_classifier(artifact: Path) -> None:
    (weights_of(artifact) / "classifier" / "added_tokens.json").write_text("{}")


@pytest.mark.parametrize(
    "change",
    [
        change_a_weight,
        change_the_tokenizer,
        change_the_labels,
        change_the_code,
        rename_the_last_of_the_code,
        add_to_the_classifier,
    ],
)
def test_what_can_change_an_answer_changes_the_fingerprint(
    artifact: Path, change: Callable[[Path], None]
) -> None:
    before = fingerprint(artifact)
    change(artifact)
    assert fingerprint(artifact) != before


def test_length_temperature_engine_precision_and_device_change_the_fingerprint(
    artifact: Path,
) -> None:
    fingerprints = [
        fingerprint(artifact),
        fingerprint(artifact, max_tokens=17),
        fingerprint(artifact, temperature=0.5),
        fingerprint(artifact, precision="bf16"),
        fingerprint(artifact, device="cuda"),
        fingerprint(artifact, engine="openvino"),
        fingerprint(artifact, engine="openvino", precision="bf16"),
        fingerprint(artifact, engine="openvino", precision="int8"),
    ]
    assert len(set(fingerprints)) == len(fingerprints)


def test_the_instructions_for_int8_change_the_fingerprint_of_int8_and_no_other(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = [
        {"avx2"},
        {"avx2", "avx512bw"},
        {"avx2", "avx512bw", "avx512_vnni"},
        {"avx2", "avx512bw", "avx512_vnni", "amx_int8"},
        set(),
    ]
    found: dict[tuple[EngineName, Precision], set[str]] = {variant: set() for variant in COMPUTED}
    for instructions in machines:
        monkeypatch.setattr(openvino, "_int8_instructions", lambda known=instructions: known)
        for engine, precision in COMPUTED:
            found[engine, precision].add(fingerprint(artifact, engine=engine, precision=precision))
    counts = {variant: len(fingerprints) for variant, fingerprints in found.items()}
    assert counts == dict.fromkeys(COMPUTED, 1) | {("openvino", "int8"): len(machines)}


def test_the_format_of_products_that_are_not_quantised_changes_the_fingerprint_of_int8(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprints = set()
    for precision in ("f32", "bf16"):
        monkeypatch.setattr(openvino, "_float_precision", lambda _, found=precision: found)
        fingerprints.add(fingerprint(artifact, engine="openvino", precision="int8"))
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("name", "precisions"),
    [
        ("f32.xml", {"f32", "bf16"}),
        ("f32.bin", {"f32", "bf16"}),
        ("int8.xml", {"int8"}),
        ("int8.bin", {"int8"}),
    ],
)
def test_a_converted_model_changes_the_fingerprint_of_what_it_computes_and_no_other(
    artifact: Path, name: str, precisions: set[Precision]
) -> None:
    def fingerprints() -> dict[tuple[EngineName, Precision], str]:
        return {
            (engine, precision): fingerprint(artifact, engine=engine, precision=precision)
            for engine, precision in COMPUTED
        }

    before = fingerprints()
    flip_the_last_bit(weights_of(artifact) / "openvino" / name)
    changed = {key for key, value in fingerprints().items() if value != before[key]}
    assert changed == {("openvino", precision) for precision in precisions}


def install_version_99(library: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = site / f"{library.replace('-', '_')}-99.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 99\n")
    monkeypatch.syspath_prepend(site)


@pytest.mark.parametrize(
    ("library", "engine"),
    [
        ("gcld3", "torch"),
        ("tokenizers", "torch"),
        ("torch", "torch"),
        ("transformers", "torch"),
        ("gcld3", "openvino"),
        ("tokenizers", "openvino"),
        ("openvino", "openvino"),
    ],
)
def test_another_version_of_a_computing_library_changes_the_fingerprint(
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    engine: EngineName,
) -> None:
    before = fingerprint(artifact, engine=engine)
    install_version_99(library, tmp_path / "site", monkeypatch)
    assert fingerprint(artifact, engine=engine) != before


@pytest.mark.parametrize(
    ("detector", "library"),
    [("gcld3", "gcld3"), ("py3langid", "py3langid"), ("fasttext", "fasttext-predict")],
)
def test_the_library_of_the_detector_changes_its_fingerprint_and_no_other(
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    detector: DetectorName,
    library: str,
) -> None:
    def fingerprints() -> dict[DetectorName, str]:
        return {name: fingerprint(artifact, detector=name) for name in DETECTORS}

    before = fingerprints()
    assert len(set(before.values())) == len(DETECTORS)
    install_version_99(library, tmp_path / "site", monkeypatch)
    assert {name for name, value in fingerprints().items() if value != before[name]} == {detector}


def test_a_file_of_the_detector_changes_the_fingerprint(artifact: Path) -> None:
    before = fingerprint(artifact, detector="fasttext")
    (artifact / "detector").mkdir()
    (artifact / "detector" / "lid.176.ftz").write_bytes(b"another model")
    assert fingerprint(artifact, detector="fasttext") != before


def test_the_version_that_the_weights_came_from_does_not_change_the_fingerprint(
    artifact: Path,
) -> None:
    before = fingerprint(artifact)
    assert fingerprint(artifact, origin="models:/dl_finetuned_model/9") == before


def test_compiled_code_does_not_change_the_fingerprint(artifact: Path) -> None:
    before = fingerprint(artifact)
    cache = artifact / "pyfunc" / "__pycache__"
    cache.mkdir()
    (cache / "inference.cpython-311.pyc").write_bytes(b"compiled")
    assert fingerprint(artifact) == before


def test_a_copy_elsewhere_has_the_same_fingerprint(artifact: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(artifact, tmp_path / "another place" / "copy")
    assert fingerprint(copy) == fingerprint(artifact)


@given(st.data())
def test_a_digest_does_not_depend_on_the_order_of_a_directory(data: st.DataObject) -> None:
    folder = Path(__file__).parent
    files = sorted(folder.glob("*.py"))
    shuffled = data.draw(st.permutations(files))
    assert _digest_files(folder, shuffled) == _digest_files(folder, files)


def test_a_digest_tells_which_file_holds_what(tmp_path: Path) -> None:
    contents = [("ab", "c"), ("a", "bc"), ("c", "ab"), ("", "abc")]
    folders = []
    for number, (first, second) in enumerate(contents):
        folder = tmp_path / str(number) / "inner"
        folder.mkdir(parents=True)
        (folder / "first.py").write_text(first)
        (folder / "second.py").write_text(second)
        folders.append(folder.parent)
    assert len({digest_folder(folder) for folder in folders}) == len(contents)
    assert len({digest_code(folder) for folder in folders}) == len(contents)
