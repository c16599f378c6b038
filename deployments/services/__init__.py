"""The services of `make up`: definitions, process manager, health checks, shutdown."""
