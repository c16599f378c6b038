"""Which engines and precisions answer as the fine-tuned model does, measured when it is wrapped."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from pyfunc.classifier import Classifier
from pyfunc.engines.openvino import model_path
from pyfunc.engines.selection import open_engine, unsupported_reason
from pyfunc.spec import Precision, Variant
from pyfunc.tokens import Encoder
from tasks.building import openvino_conversion
from tasks.building.types import EngineChoice, Gate, PrecisionChoice
from tasks.training.logged_rows import UNSEEN_ROWS, CheckRows

logger = logging.getLogger(__name__)

LEAST_ROWS = UNSEEN_ROWS
LEAST_AGREEMENT = {"f32": 0.998, "bf16": 0.998, "int8": 0.985}
MOST_ACCURACY_LOST = 0.005

REFERENCE = Variant("torch", "f32")

# As CPUs do them, the fastest first; measured by `make bench`.
_BY_SPEED = (
    Variant("openvino", "int8"),
    Variant("openvino", "bf16"),
    Variant("openvino", "f32"),
    Variant("torch", "bf16"),
    REFERENCE,
)

# How many products int8 spares, tried in this order: the fewer, the faster.
_SPARED = (1, None)


def candidates(engine: EngineChoice, precision: PrecisionChoice) -> list[Variant]:
    """Return the variants that a choice allows, the fastest first; f32 is always among them."""
    allowed = {"f32", "bf16"} if precision == "auto" else {"f32", precision}
    if precision == "int8":
        allowed.add("bf16")
    return [
        variant
        for variant in _BY_SPEED
        if variant.precision in allowed and engine in ("auto", variant.engine)
    ]


def _ships_a_model(gate: Gate) -> bool:
    return gate.engine == "openvino" and not gate.reason


def _log(gate: Gate) -> None:
    if gate.reason:
        logger.warning("%s %s is left out: %s", gate.engine, gate.precision, gate.reason)
        return
    logger.info(
        "%s %s: %.4f of %d labels are those of f32, accuracy %.4f",
        gate.engine,
        gate.precision,
        gate.agreement,
        gate.rows,
        gate.accuracy,
    )


class Gatekeeper:
    """Converts a fine-tuned model for the engines and measures what they answer."""

    def __init__(self, artifact: Path, max_tokens: int, rows: CheckRows) -> None:
        """Ask the reference for its answers.

        Args:
            artifact: Folder with `classifier/`; gets `openvino/`.
            max_tokens: Longer texts are cut to this many tokens.
            rows: What to measure on.
        """
        self._artifact = artifact
        self._max_tokens = max_tokens
        self._rows = rows
        self._expected = self._labels(REFERENCE)
        self._accuracy = self._share_of_equal(self._expected, rows.unseen["label"])
        self._converted = ""

    def measure(self, variants: Sequence[Variant]) -> tuple[Gate, ...]:
        """Return a gate for each variant, in their order; what failed is logged."""
        # int8 is made from f32, which has to be there first.
        if any(variant.engine == "openvino" for variant in variants):
            self._converted = self._convert()
        with tqdm(variants, desc="gates", unit="variants", disable=None) as bar:
            gates = tuple(self._gate(variant) for variant in bar)
        for gate in gates:
            _log(gate)
        self._remove_unused({gate.precision for gate in gates if _ships_a_model(gate)})
        return gates

    def _remove_unused(self, precisions: set[Precision]) -> None:
        folder = self._artifact / "openvino"
        used = {model_path(folder, precision).stem for precision in precisions}
        for path in folder.glob("*.*"):
            if path.stem not in used:
                path.unlink()

    def _convert(self) -> str:
        try:
            openvino_conversion.convert(self._artifact / "classifier", self._artifact / "openvino")
        except (OSError, MemoryError):
            raise
        except Exception as error:
            # Tracing runs the model's own code.
            logger.debug("conversion failed", exc_info=True)
            return f"not convertible ({type(error).__name__})"
        return ""

    def _gate(self, variant: Variant) -> Gate:
        reason = self._hindrance(variant)
        if not reason:
            try:
                return self._first_to_pass(variant)
            except (OSError, MemoryError):  # of the machine, not of the variant
                raise
            except Exception as error:
                # nncf and the engines run what the model brings; a gate that fails is a result.
                logger.debug("%s failed", variant, exc_info=True)
                reason = f"failed ({type(error).__name__})"
        return Gate(engine=variant.engine, precision=variant.precision, reason=reason)

    def _first_to_pass(self, variant: Variant) -> Gate:
        for _ in self._makings(variant):
            gate = self._measured(variant)
            if not gate.reason:
                break
        return gate

    def _hindrance(self, variant: Variant) -> str:
        rows = len(self._rows.unseen)
        if variant.engine == "openvino" and self._converted:
            return self._converted
        if variant.precision != "f32" and rows < LEAST_ROWS:
            return f"only {rows} labelled rows that the training did not see; expected {LEAST_ROWS}"
        return unsupported_reason(variant)

    def _makings(self, variant: Variant) -> Iterator[None]:
        """Yield each time that the variant is there, made in another way."""
        if variant.precision != "int8":
            yield
            return
        encoder = Encoder(self._artifact / "classifier", max_tokens=self._max_tokens)
        for spared in _SPARED:
            openvino_conversion.quantise(
                self._artifact / "openvino", encoder, self._rows.calibration, spared=spared
            )
            yield

    def _measured(self, variant: Variant) -> Gate:
        labels = self._expected if variant == REFERENCE else self._labels(variant)
        agreement = self._share_of_equal(labels, self._expected)
        accuracy = self._share_of_equal(labels, self._rows.unseen["label"])
        least = LEAST_AGREEMENT[variant.precision]
        reason = ""
        # Not `<`, which a NaN would pass.
        if not agreement >= least:
            reason = f"{agreement:.4f} of the labels are those of f32; expected {least}"
        elif variant.precision == "int8" and not accuracy >= self._accuracy - MOST_ACCURACY_LOST:
            reason = (
                f"accuracy {accuracy:.4f}; expected {self._accuracy:.4f}, that of f32, "
                f"less {MOST_ACCURACY_LOST} at most"
            )
        return Gate(
            engine=variant.engine,
            precision=variant.precision,
            rows=len(labels),
            agreement=agreement,
            accuracy=accuracy,
            reason=reason,
        )

    def _labels(self, variant: Variant) -> pd.Series:
        engine = open_engine(self._artifact, variant)
        classifier = Classifier(self._artifact / "classifier", engine, max_tokens=self._max_tokens)
        predictions = classifier.predict(self._rows.unseen["text"].tolist())
        return pd.Series([prediction.label for prediction in predictions])

    def _share_of_equal(self, labels: pd.Series, others: pd.Series) -> float:
        equal = labels.to_numpy() == others.to_numpy()
        return float(equal.mean()) if len(equal) else float("nan")
