"""The benchmark of served models: beside a no-op model, and beside other servers under load."""
