"""A scoring run's record in MLflow."""

from collections.abc import Iterator, Mapping
from typing import Any

import mlflow

from tasks.scoring import EXPERIMENT, ScoringParameters
from tasks.tracking import connect, experiment_id, git_commit


def log(parameters: ScoringParameters, summary: Mapping[str, Any]) -> str:
    """Log a run with its parameters, figures and manifest, and return its id.

    Raises:
        MlflowException: If MLflow cannot be reached or its database is locked.
    """
    connect()
    with mlflow.start_run(
        experiment_id=experiment_id(EXPERIMENT),
        run_name=parameters.output_dir.name,
        tags={
            "model_uri": parameters.model.uri,
            "fingerprint": parameters.model.fingerprint,
            "engine": parameters.model.engine,
            "precision": parameters.model.precision,
            "output_dir": str(parameters.output_dir),
            "prefect_flow_run_id": parameters.flow_run_id,
            "git_commit": git_commit(),
        },
    ) as run:
        mlflow.log_params(
            parameters.rows.model_dump(mode="json", exclude={"language"})
            | {
                f"language_{name}": value
                for name, value in parameters.rows.language.model_dump(mode="json").items()
            }
            | parameters.model_dump(
                mode="json", include={"shard_rows", "use_cache", "batch_tokens", "workers"}
            )
        )
        mlflow.log_metrics(dict(_metrics(summary)))
        mlflow.log_artifact(str(parameters.output_dir / "manifest.json"))
    return str(run.info.run_id)


def _metrics(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in fields.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
        elif name == "model_calls_avoided":
            yield from _metrics(value, prefix=f"{name}_by_")
