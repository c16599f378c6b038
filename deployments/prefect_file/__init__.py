"""Validation of `prefect.yaml`: schema, placeholders, flow parameters and triggers."""
