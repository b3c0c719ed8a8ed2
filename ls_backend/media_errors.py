"""Every error of fetching pictures and videos.

::

    MediaError (EngineError, OSError)
    ├── MediaRefusedError (PermissionError)     not allowed: a host, an address, a scheme, a path, a redirect
    ├── MediaAuthError (PermissionError)        the other side wants a token or password, or another one
    ├── MediaTooLargeError                      more bytes than the limit
    ├── MediaTimeoutError (TimeoutError)        not complete in time
    └── MediaUnavailableError                   not there, not reachable, cut short

Messages hold no token, no password and no query of an address, which can carry signatures.
"""

from __future__ import annotations

from sam2_engine.errors import EngineError


class MediaError(EngineError, OSError):
    """A picture or video cannot be had."""


class MediaRefusedError(MediaError, PermissionError):
    """The address is not one that may be fetched from; nothing was sent to it."""


class MediaAuthError(MediaError, PermissionError):
    """The other side does not accept our token or password, or wants one."""


class MediaTooLargeError(MediaError):
    """More bytes than the limit, as announced, as received, or after unpacking."""


class MediaTimeoutError(MediaError, TimeoutError):
    """Not complete within the time allowed."""


class MediaUnavailableError(MediaError):
    """Not there, not reachable, or cut short."""
