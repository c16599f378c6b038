"""Resolve the versions that answer, and the engines that they use here."""

from collections.abc import Sequence
from dataclasses import asdict

from mlflow.entities.model_registry import ModelVersion

from pyfunc.business.spec import BusinessSpec
from pyfunc.detectors.codes import canonical
from pyfunc.engines.engine import Engine
from pyfunc.pipeline import InferencePipeline
from tasks.arms.types import ScoringModel
from tasks.common.errors import ModelError, ParameterError, SupersededError
from tasks.output.row_parameters import RowParameters
from tasks.output.traffic_split import AskedSplit
from tasks.sources.addresses import export_addresses
from tasks.tracking.names import CHAMPION, RegisteredModel, parse_pipeline_reference
from tasks.tracking.pipeline_loader import load_logic, load_typed_pipeline
from tasks.tracking.pipeline_members import rebuild_command
from tasks.tracking.registry import find_version, get_aliases, resolve_pipeline

_ROWS = RowParameters()


def resolve_scoring_model(
    model_uri: str, rows: RowParameters = _ROWS, *, parameter: str = "model_uri"
) -> ScoringModel:
    """Return the version that `model_uri` means now.

    Args:
        model_uri: `models:/<name>/<number>` or `models:/<name>@<alias>`.
        rows: What it is to answer: all scores, and languages that its detector is to report.
        parameter: The parameter that has `model_uri`, for the error.

    Raises:
        ModelError: If the version cannot be used, or was built before `all_scores` came.
        ParameterError: If there is no such version, the URI is of another form, its detector never
            reports a language, or a source of its look-ups has no address.
    """
    uri = resolve_pipeline(model_uri, parameter=parameter)
    pipeline = load_typed_pipeline(uri)
    if rows.all_scores and not pipeline.offers_all_scores:
        rebuild = rebuild_command(_find(uri))
        raise ModelError(
            f"{uri}: was built without all_scores; expected a version that {rebuild} builds now"
        )
    _check_languages(uri, pipeline, rows.language.languages)
    logic = load_logic(uri)
    # A version has a class of its own for it.
    business = BusinessSpec.of(asdict(logic.spec)) if logic else None
    if business:
        export_addresses(lookup.source for lookup in business.lookups)
    is_composed = pipeline.is_composed
    return ScoringModel(
        uri=uri,
        fingerprint=pipeline.fingerprint,
        labels=tuple(pipeline.labels),
        engine=pipeline.variant.engine,
        precision=pipeline.variant.precision,
        device=pipeline.device,
        fallback=pipeline.fallback,
        is_composed=is_composed,
        engines=_engines_of(pipeline) if is_composed else {},
        logged_uri=_find(uri).source if is_composed else "",
        business=business,
        rules_digest=logic.digest if logic else "",
    )


def check_champion(model_uri: str) -> None:
    """Check that a version is champion now.

    Raises:
        SupersededError: If it is not.
    """
    model = RegisteredModel.from_uri(model_uri)
    champion = get_aliases(model.name).get(CHAMPION)
    if champion != model.version:
        raise SupersededError(
            f"model_uri: {model_uri} is not champion any more; version {champion} is, and its "
            "promotion has a run of its own"
        )


def _engines_of(pipeline: InferencePipeline) -> dict[str, str]:
    # The code that the first composed versions ship names the engine of the first member alone.
    engines: dict[str, Engine] = getattr(pipeline, "engines", {})
    return {name: f"{engine.variant} on {engine.device}" for name, engine in engines.items()}


def _find(uri: str) -> ModelVersion:
    return find_version(*parse_pipeline_reference(uri))


def _check_languages(uri: str, pipeline: InferencePipeline, languages: Sequence[str]) -> None:
    """Refuse a language in which the detector would call no row; all of them would be foreign."""
    codes = pipeline.detector.codes
    if unknown := sorted({code for code in languages if canonical(code) not in codes}):
        raise ParameterError(
            f"languages: {unknown}; expected codes that the detector of {uri} reports, of: "
            f"{' '.join(sorted(codes))}"
        )


def resolve_challenger(
    asked: AskedSplit, control: ScoringModel, rows: RowParameters
) -> ScoringModel:
    """Return the version that is to answer the share of a split.

    Args:
        asked: The version and its share.
        control: The version that answers the other rows.
        rows: What both are to answer.

    Raises:
        ModelError: If the version cannot be used.
        ParameterError: If there is no such version, it is the control, or it answers as the control
            does.
    """
    challenger = resolve_scoring_model(asked.reference, rows, parameter="split")
    if challenger.uri == control.uri:
        raise ParameterError(
            f"split: {asked.reference} and model_uri are both {control.uri}; expected two versions"
        )
    is_equal = challenger.rules_digest == control.rules_digest
    if challenger.fingerprint == control.fingerprint and is_equal:
        raise ParameterError(
            f"split: {challenger.uri} answers as {control.uri} of model_uri does, since both have "
            f"the fingerprint {control.fingerprint}; expected two that differ"
        )
    _check_column_types(control, challenger)
    return challenger


def _check_column_types(control: ScoringModel, challenger: ScoringModel) -> None:
    """Refuse versions whose look-ups or rules give a column of the output two types."""
    if control.business is None or challenger.business is None:
        return
    types = control.business.added_columns
    for name, kind in challenger.business.added_columns.items():
        if types.get(name, kind) != kind:
            raise ParameterError(
                f"split: the column {name} is {kind} by {challenger.uri} and {types[name]} by "
                f"{control.uri}; expected one type"
            )
