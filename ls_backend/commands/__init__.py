"""``sam2 label-studio doctor``, ``predict`` and ``export``: what people type. One module a command."""
