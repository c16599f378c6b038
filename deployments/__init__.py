"""Services, registration and configuration checks: how flows are deployed, never what they do."""

import flows  # noqa: F401 -- prepares the process, before a module here imports Prefect
