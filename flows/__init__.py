"""The recipes: each flow's body is the list of its steps.

Dependencies read their home and telemetry variables when they are imported, so the defaults
are set here, before any flow module imports one: the project's only import-time side effect.
"""

from tasks.settings import prepare_process

prepare_process()
