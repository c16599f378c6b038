"""Exceptions of the shipped package; their messages never quote a row's text."""


class PipelineError(Exception):
    """Base of the errors that the inference pipeline raises on purpose."""


class ArtifactError(PipelineError):
    """A file of the model's folder is missing or cannot be used."""


class UnsupportedError(ArtifactError):
    """The model's files are intact, but this machine cannot compute it."""


class PredictParameterError(PipelineError):
    """A parameter given at predict time is out of bounds."""


class SettingError(PipelineError):
    """A setting given at load time, or its environment variable, is out of bounds."""


class SourceError(PipelineError):
    """A database or file that look-ups read cannot be read; its message names no address or key."""


class CacheError(PipelineError):
    """The prediction cache cannot be read or changed."""
