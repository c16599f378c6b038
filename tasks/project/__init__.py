"""The project file `millstream.toml`: defaults for one's own data, model names and schedules."""
