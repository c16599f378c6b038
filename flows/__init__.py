"""Flows: the body of each is the list of its steps."""

import tasks  # noqa: F401 -- prepares the process, before a flow's module imports Prefect
