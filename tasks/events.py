"""What is announced to Prefect's server, for its automations to act on."""

from prefect.events import emit_event

PROMOTED = "millstream.pipeline.promoted"


def announce_champion(name: str, version: int, reason: str) -> None:
    """Tell that another version of the registered model `name` is champion.

    The event's resource is `millstream.model.<name>`; its label `millstream.model-uri` is the URI
    of the version, which cannot come to mean another.
    """
    emit_event(
        event=PROMOTED,
        resource={
            "prefect.resource.id": f"millstream.model.{name}",
            "prefect.resource.name": name,
            "millstream.model-uri": f"models:/{name}/{version}",
            "millstream.reason": reason,
        },
    )
