"""`prefect.yaml`: its schema, placeholders, parameters and triggers, as Prefect would read them."""
