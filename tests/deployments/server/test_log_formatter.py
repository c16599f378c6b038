"""The log of Prefect's server, in a process that is configured as the server is."""

import os
import subprocess
import sys

import pytest

from deployments.services.definitions import PREFECT, services_of
from tasks.common.settings import REPOSITORY, Settings
from tests.support.webhook import webhook

# Prefect's own block and the loop that calls it, as its server runs them.
SERVER = """
import asyncio, sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.logging.configuration import setup_logging
from prefect.server.utilities.messaging.memory import Consumer, MemoryMessage, StopConsumer
from prefect.types import SecretDict

address = sys.argv[1]
block = CustomWebhookNotificationBlock(
    name="failures",
    url="{{address}}",
    secrets=SecretDict({"address": address}),
    json_data={"subject": "{{subject}}"},
)
attempts = []

async def notify(message):
    attempts.append(message)
    if len(attempts) > 1:
        raise StopConsumer(ack=True)
    await block.anotify(subject="subject", body="body")

async def main():
    consumer = Consumer("actions", concurrency=1)
    await consumer.topic.publish(MemoryMessage(b"{}", {}))
    await consumer.run(notify)

setup_logging()
asyncio.run(main())
"""


@pytest.mark.parametrize("secret", ["/gone/hunter2", "/gone?token=hunter2"])
def test_a_webhook_that_refuses_is_logged_without_its_secret(secret: str) -> None:
    server = next(found for found in services_of(Settings()) if found.name == PREFECT)
    with webhook() as hook:
        logged = subprocess.run(
            [sys.executable, "-c", SERVER, hook.host + secret],
            cwd=REPOSITORY,
            env=os.environ | server.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stderr
    assert f"404 Not Found' for url '{hook.host}/…'" in logged
    assert "Failed in consume_loop" in logged
    assert "hunter2" not in logged
