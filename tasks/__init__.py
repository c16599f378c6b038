"""The stages of the work: one module a stage, plain functions in thin Prefect tasks."""
