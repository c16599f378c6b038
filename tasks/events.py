"""What is announced to Prefect's server, for its automations to act on."""

from prefect.events import emit_event

PROMOTED = "millstream.pipeline.promoted"


def announce_champion(name: str, version: int, reason: str) -> None:
    """Tell that another version of the registered model `name` is champion."""
    emit_event(event=PROMOTED, resource=champion_resource(name, version, reason))


def champion_resource(name: str, version: int, reason: str) -> dict[str, str]:
    """Return what the event says: the model, and in `millstream.model-uri` the version's URI.

    That URI cannot come to mean another version.
    """
    return {
        "prefect.resource.id": f"millstream.model.{name}",
        "prefect.resource.name": name,
        "millstream.model-uri": f"models:/{name}/{version}",
        "millstream.reason": reason,
    }
