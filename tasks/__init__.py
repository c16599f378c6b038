"""The stages: plain functions that do the work, in thin Prefect tasks.

Dependencies read their home and telemetry variables when they are imported, so the defaults are
set here, before any module of this room imports one: the project's only import-time side effect.
Prefect loads a flow by its file, without `flows/__init__.py`, so that place would be too late.
"""

from tasks.common.environment import prepare_process
from tasks.project.project import server_variables

prepare_process(server_variables)
