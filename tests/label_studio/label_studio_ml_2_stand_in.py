"""A STAND-IN for label-studio-ml 2.x, which is on GitHub only and cannot be installed by name from PyPI.

It has what our class meets: the constructor, `setup`, `get` and `set` of its base class, and a Flask server in its
``api`` that makes an instance for every request, gives ``project_id`` by position on webhooks, and shows tracebacks.
The real 1.0.9 has a test of its own in tests/e2e.
"""

from __future__ import annotations

import traceback
from types import ModuleType
from typing import Any

from flask import Flask, jsonify, request


class StandInMLBase:
    """The base class as 2.x calls and is called."""

    stored: dict[tuple[str, str], Any]

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            if "</View>" not in label_config:
                raise KeyError("label config")
            self.set("label_config", label_config)
        self.setup()

    def setup(self) -> None:
        """For subclasses."""

    def get(self, key: str) -> Any:
        return self.stored.get((self.project_id, key))

    def set(self, key: str, value: Any) -> None:
        self.stored[self.project_id, key] = value

    @property
    def label_config(self) -> Any:
        return self.get("label_config")

    @property
    def model_version(self) -> Any:
        return self.get("model_version")


class StandInResponse:
    """What subclasses may give back in 2.x."""

    def __init__(self, predictions: list[dict[str, Any]]) -> None:
        self._predictions = predictions

    def model_dump(self) -> dict[str, Any]:
        return {"predictions": self._predictions}


def stand_in_modules() -> dict[str, ModuleType]:
    """Fresh modules ``label_studio_ml``, ``.model`` and ``.api``."""
    package, model, api = (
        ModuleType(name) for name in ("label_studio_ml", "label_studio_ml.model", "label_studio_ml.api")
    )
    base = type("LabelStudioMLBase", (StandInMLBase,), {"stored": {}})
    server = Flask("label_studio_ml.api")

    def init_app(model_class: Any, basic_auth_user: str | None = None, basic_auth_pass: str | None = None) -> Flask:
        vars(api)["MODEL_CLASS"] = model_class
        if basic_auth_user and basic_auth_pass:
            vars(api)["BASIC_AUTH"] = (basic_auth_user, basic_auth_pass)
        return server

    @server.route("/predict", methods=["POST"])
    def predict() -> Any:
        try:
            body: Any = request.json
            project = str(body.get("project")).split(".", 1)[0]
            params = body.get("params", {})
            context = params.pop("context", {})
            instance = vars(api)["MODEL_CLASS"](project_id=project, label_config=body.get("label_config"))
            return jsonify({"results": instance.predict(body.get("tasks"), context=context, **params)})
        except Exception:
            return jsonify({"traceback": traceback.format_exc()}), 500

    @server.route("/webhook", methods=["POST"])
    def webhook() -> Any:
        body: Any = request.json
        event = body.pop("action")
        instance = vars(api)["MODEL_CLASS"](str(body["project"]["id"]), label_config=body["project"]["label_config"])
        return jsonify({"result": instance.fit(event, body), "status": "ok"}), 201

    vars(model)["LabelStudioMLBase"] = base
    vars(api).update(_server=server, init_app=init_app, MODEL_CLASS=base, BASIC_AUTH=None)
    vars(package).update(model=model, api=api)
    return {"label_studio_ml": package, "label_studio_ml.model": model, "label_studio_ml.api": api}
