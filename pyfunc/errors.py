"""The errors of the shipped package; their messages never quote a row's text."""


class PipelineError(Exception):
    """Base of the errors that the inference pipeline raises on purpose."""


class ArtifactError(PipelineError):
    """The model's folder lacks a file, or holds one that cannot be used."""


class UnsupportedError(ArtifactError):
    """This machine cannot compute the model, whose files are whole."""


class PredictParameterError(PipelineError):
    """A parameter given at predict time is out of bounds."""


class SettingError(PipelineError):
    """A setting of the load, or a variable in its place, is out of bounds."""


class CacheError(PipelineError):
    """The prediction cache cannot be read or changed."""
