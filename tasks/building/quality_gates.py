"""Quality gates: do an engine and a precision predict the same labels as the reference?"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pyfunc.classifier import Classifier
from pyfunc.engines.openvino import import_openvino, int8_arithmetic, model_path
from pyfunc.engines.selection import has_cuda, open_engine, unsupported_reason
from pyfunc.engines.torch import supported_precisions
from pyfunc.pipeline import refusal_reason
from pyfunc.spec import Variant
from pyfunc.tokens import Encoder
from tasks.building import openvino_conversion
from tasks.building.types import Gate, reasons_by_variants
from tasks.composition.types import EngineChoice, PrecisionChoice
from tasks.training.logged_rows import UNSEEN_ROWS, CheckRows
from tasks.training.reference import open_reference

logger = logging.getLogger(__name__)

MIN_ROWS = UNSEEN_ROWS
MIN_AGREEMENT = {"f32": 0.998, "bf16": 0.998, "int8": 0.985}
MAX_ACCURACY_LOSS = 0.005
_NO_LABEL = ""  # a wrong answer

# The fastest on a CPU first, as measured by `make bench`.
_BY_SPEED = (
    Variant("openvino", "int8"),
    Variant("openvino", "bf16"),
    Variant("openvino", "f32"),
    Variant("torch", "bf16"),
    Variant("torch", "f32"),
)

STATIC_VARIANT = Variant("static", "f32")

# Attempts at int8, in this order: fewer unquantised products are faster.
_UNQUANTISED_PRODUCTS = (1, None)


def candidate_variants(engine: EngineChoice, precision: PrecisionChoice) -> list[Variant]:
    """Return the variants that a choice allows, the fastest first; f32 is always among them."""
    allowed = {"f32", "bf16"} if precision == "auto" else {"f32", precision}
    if precision == "int8":
        allowed.add("bf16")
    return [
        variant
        for variant in _BY_SPEED
        if variant.precision in allowed and engine in ("auto", variant.engine)
    ]


def describe_machine() -> dict[str, object]:
    """Return what of this machine decides which variants are measured, and what they answer."""
    cpu = import_openvino().Core()
    return {
        "cpu": cpu.get_property("CPU", "FULL_DEVICE_NAME"),
        "openvino": sorted(cpu.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "int8": int8_arithmetic(),
        "torch": torch.backends.cpu.get_cpu_capability(),
        "torch_precisions": sorted(supported_precisions()),
        "gpu": torch.cuda.get_device_name() if has_cuda() else "",
    }


def _log_gates(gates: Sequence[Gate], expected: Collection[str], members: str) -> None:
    """Log which variants passed, and in one line for each reason which did not.

    Args:
        gates: What was found.
        expected: Reasons that are worth no warning.
        members: The names of those that were measured; empty of a single model.
    """
    prefix = f"{members}: " if members else ""
    for gate in gates:
        if not gate.reason:
            logger.info(
                "%s%s %s passed: %.2f %% of %d rows get the label of the fine-tuned model",
                *(prefix, gate.engine, gate.precision, 100 * (gate.agreement or 0), gate.rows),
            )
    for names, reason in reasons_by_variants(gates).items():
        level = logging.INFO if reason in expected else logging.WARNING
        logger.log(level, "%s%s not used: %s", prefix, names, reason)


class Gatekeeper:
    """Converts a fine-tuned model for each engine and compares the labels that they predict.

    Attributes:
        had_errors: Whether a conversion or a variant raised an error: another time it may not.
    """

    def __init__(self, artifact: Path, max_tokens: int, rows: CheckRows, members: str = "") -> None:
        """Predict the labels of the reference: transformers in f32, or a static model's definition.

        Args:
            artifact: Folder of the pipeline with `classifier/`; conversion adds `openvino/`.
            max_tokens: Longer texts are cut to this many tokens.
            rows: Rows to predict, and texts to calibrate int8 with.
            members: The names of the members with this model, for the log; empty of a single one.

        Raises:
            ArtifactError: If a file of the classifier is missing or cannot be used.
            ModelError: If the model cannot read `max_tokens`.
        """
        self._artifact = artifact
        self._classifier, self._openvino = artifact / "classifier", artifact / "openvino"
        self._max_tokens = max_tokens
        self._rows = rows
        self._members = members
        # First: its errors are those of the files, not of a variant.
        self._encoder = Encoder(self._classifier, max_tokens=max_tokens)
        reference = open_reference(self._classifier, max_tokens=max_tokens)
        # Rows of an earlier training may hold texts that the pipeline refuses.
        self._answered = (rows.unseen["text"].map(refusal_reason) == "").to_numpy()
        self._expected = self._labels_by(reference.predict)
        self._accuracy = _share_of_equal(self._expected, rows.unseen["label"])
        self._conversion_error = ""
        self.had_errors = False
        # Of members with equal weights, which this one must neither replace nor remove.
        self._others = {path.stem for path in self._openvino.glob("*.xml")}

    def measure_variants(
        self, variants: Sequence[Variant], asked: PrecisionChoice = "auto"
    ) -> tuple[Gate, ...]:
        """Return and log a gate for each variant, in their order.

        Args:
            variants: What may answer if it passes.
            asked: The precision that the user asked for.
        """
        # int8 is quantised from the f32 model.
        if any(variant.engine == "openvino" for variant in variants):
            self._conversion_error = self._convert()
        title = f"gates of {self._members}" if self._members else "gates"
        with tqdm(variants, desc=title, unit="variants", disable=None) as bar:
            gates = tuple(self._gate(variant) for variant in bar)
        _log_gates(gates, self._expected_reasons(variants, asked), self._members)
        passed = [gate for gate in gates if gate.engine == "openvino" and not gate.reason]
        used = {model_path(self._openvino, gate.precision).stem for gate in passed} | self._others
        for path in self._openvino.glob("*.*"):
            if path.stem not in used:
                path.unlink()
        return gates

    def _convert(self) -> str:
        """Convert to f32 and return why that failed, or an empty string."""
        if "f32" in self._others:
            return ""
        try:
            openvino_conversion.convert_to_openvino(self._classifier, self._openvino)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            # Tracing runs the model's own code.
            logger.debug("conversion failed", exc_info=True)
            self.had_errors = True
            return f"not convertible ({type(error).__name__})"
        return ""

    def _gate(self, variant: Variant) -> Gate:
        reason = self._exclusion_reason(variant)
        if not reason:
            try:
                for _ in self._quantisation_attempts(variant):
                    gate = self._measure_variant(variant)
                    if not gate.reason:
                        break
                return gate
            except (OSError, MemoryError):  # the machine's fault, not the variant's
                raise
            except Exception as error:
                # NNCF and the engines run the model's code; its errors fail the gate.
                logger.debug("%s failed", variant, exc_info=True)
                self.had_errors = True
                reason = f"failed ({type(error).__name__})"
        return Gate(engine=variant.engine, precision=variant.precision, reason=reason)

    def _exclusion_reason(self, variant: Variant) -> str:
        rows = len(self._rows.unseen)
        if variant.engine == "openvino" and self._conversion_error:
            return self._conversion_error
        if variant.precision != "f32" and rows < MIN_ROWS:
            return f"needs {MIN_ROWS} labelled rows that the training did not see, and has {rows}"
        return unsupported_reason(variant)

    def _expected_reasons(self, variants: Sequence[Variant], asked: PrecisionChoice) -> set[str]:
        """Return the reasons why nobody's choice was not tried: few rows, or the machine."""
        reasons = {variant: self._exclusion_reason(variant) for variant in variants}
        chosen = {why for variant, why in reasons.items() if variant.precision in ("f32", asked)}
        return {*reasons.values()} - chosen - {self._conversion_error}

    def _quantisation_attempts(self, variant: Variant) -> Iterator[None]:
        """Yield after each quantisation to int8, or once for another precision."""
        if variant.precision != "int8" or "int8" in self._others:
            yield
            return
        for count in _UNQUANTISED_PRODUCTS:
            openvino_conversion.quantise_to_int8(
                self._openvino, self._encoder, self._rows.calibration, unquantised_products=count
            )
            yield

    def _measure_variant(self, variant: Variant) -> Gate:
        labels = self._predict_labels(variant)
        agreement = _share_of_equal(labels[self._answered], self._expected[self._answered])
        accuracy = _share_of_equal(labels, self._rows.unseen["label"])
        minimum = MIN_AGREEMENT[variant.precision]
        reason = ""
        # Not `<`, which a NaN would pass.
        if not agreement >= minimum:
            reason = (
                f"{agreement:.2%} of the rows get the label of the fine-tuned model; expected "
                f"{minimum:.1%}"
            )
        elif variant.precision == "int8" and not accuracy >= self._accuracy - MAX_ACCURACY_LOSS:
            reason = (
                f"accuracy {accuracy:.4f}; expected {self._accuracy:.4f}, that of the fine-tuned "
                f"model, less {MAX_ACCURACY_LOSS} at most"
            )
        return Gate(
            engine=variant.engine,
            precision=variant.precision,
            rows=len(labels),
            agreement=agreement,
            accuracy=accuracy,
            reason=reason,
        )

    def _predict_labels(self, variant: Variant) -> pd.Series:
        engine = open_engine(self._artifact, variant)
        classifier = Classifier(self._classifier, engine, max_tokens=self._max_tokens)
        return self._labels_by(
            lambda texts: [prediction.label for prediction in classifier.predict(texts)]
        )

    def _labels_by(self, predict: Callable[[list[str]], list[str]]) -> pd.Series:
        """Return the predicted labels; a text that the pipeline refuses has none."""
        labels = np.full(len(self._answered), _NO_LABEL, dtype=object)
        labels[self._answered] = predict(self._rows.unseen["text"][self._answered].tolist())
        return pd.Series(labels)


def _share_of_equal(labels: pd.Series, others: pd.Series) -> float:
    equal = labels.to_numpy() == others.to_numpy()
    return float(equal.mean()) if len(equal) else float("nan")
