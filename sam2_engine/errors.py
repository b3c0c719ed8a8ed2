"""Every error this package raises on purpose.

::

    EngineError
    ├── PromptError (ValueError)              a click, box or mask that cannot be used
    ├── ShapeError (ValueError)               an array or tensor of another shape than documented
    ├── UnknownObjectError (KeyError)         an object id nobody has prompted
    ├── ImageError (ValueError)               a picture that cannot be read or used
    │   └── ImageTooLargeError                more pixels than the limit allows
    ├── FramesError (ValueError)              a stack, folder or video that cannot be read or used
    ├── CheckpointError (ValueError)          weights that cannot be read
    │   ├── UnsafeCheckpointError             the file would run code when loaded
    │   └── CheckpointMismatchError           readable weights of another architecture
    ├── WeightsUnavailableError (OSError)     named weights that are not on this machine and cannot be fetched
    ├── BudgetError (ValueError)              an amount of memory or disk that makes no sense
    ├── SettingError (ValueError)             an option or environment variable that stands for nothing
    ├── SessionError (RuntimeError)           a call that the session's state does not allow
    ├── SessionFileError (ValueError)         a saved session that cannot be read
    ├── ExportError (OSError)                 a result that could not be written
    └── MissingDependencyError (ImportError)  an optional package is needed; the message names the extra

Each also is the built-in exception in brackets, so callers that know nothing of this package catch what they expect.
Messages say what came, what was expected and what to do.
"""


class EngineError(Exception):
    """Base of all errors raised on purpose by this package."""

    def __str__(self) -> str:
        # KeyError would show the message as a quoted repr.
        return " ".join(str(part) for part in self.args)


class PromptError(EngineError, ValueError):
    """A click, box or mask prompt cannot be used as given."""


class ShapeError(EngineError, ValueError):
    """An array or tensor has another shape than documented."""


class UnknownObjectError(EngineError, KeyError):
    """No object of this id has been prompted."""


class ImageError(EngineError, ValueError):
    """A picture cannot be read or used."""


class ImageTooLargeError(ImageError):
    """A picture has more pixels than the limit allows."""


class FramesError(EngineError, ValueError):
    """A stack, folder or video cannot be read or used."""


class CheckpointError(EngineError, ValueError):
    """Weights cannot be read."""


class UnsafeCheckpointError(CheckpointError):
    """Loading this file would run code that it carries."""


class CheckpointMismatchError(CheckpointError):
    """The weights are readable but belong to another architecture."""


class WeightsUnavailableError(EngineError, OSError):
    """Named weights are not on this machine and cannot be fetched."""


class BudgetError(EngineError, ValueError):
    """An amount of memory or disk that makes no sense."""


class SettingError(EngineError, ValueError):
    """An option or an environment variable holds a word that stands for nothing."""


class SessionError(EngineError, RuntimeError):
    """The session's state does not allow this call."""


class SessionFileError(EngineError, ValueError):
    """A saved session cannot be read."""


class ExportError(EngineError, OSError):
    """A result could not be written; what stood there before is untouched."""


class MissingDependencyError(EngineError, ImportError):
    """An optional package is needed; the message names the extra to install."""
