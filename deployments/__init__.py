"""How flows are run elsewhere (work pools, clusters), never what they do."""

import tasks  # noqa: F401 -- prepares the process, before a module here imports Prefect
