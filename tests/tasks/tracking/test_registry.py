"""What an error says of a registered model."""

import pytest

from tasks.tracking.mlflow_client import connect
from tasks.tracking.registry import describe_versions


@pytest.mark.usefixtures("home")
def test_the_versions_of_a_model_are_named_with_their_aliases_if_they_have_any() -> None:
    client = connect()
    client.create_registered_model("m")
    client.create_model_version("m", source="s3://bucket/m")
    assert describe_versions("m") == "there are the versions [1] and no alias"
    client.set_registered_model_alias("m", "champion", "1")
    assert describe_versions("m") == "there are the versions [1] and the aliases {'champion': 1}"
