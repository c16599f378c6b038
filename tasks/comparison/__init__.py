"""Compare two versions row by row on the same inputs."""
