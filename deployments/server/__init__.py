"""What Prefect's server gets from us: pool, deployments, automations, event order, log format."""
