"""What comes over HTTP, before anything believes it: bytes → JSON → the shape of Label Studio's requests.

Only the outside is checked here, once for both ways of running; regions, labels and addresses are checked where they
are read. Pure: no server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from sam2_engine.errors import EngineError

_MAX_DIGITS = 300
_LONG_NUMBER = re.compile(rb"\d{%d}" % _MAX_DIGITS)
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")

MAX_CONTAINERS = 2_000_000
"""Lists and objects in one body. Each takes some twenty times its text in memory, so bytes alone bound nothing."""


class RequestError(EngineError, ValueError):
    """A request is not as Label Studio sends it."""


class RequestTooLargeError(RequestError):
    """A request is larger than the limits allow."""


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises
    ------
    RequestTooLargeError
        More lists and objects than `MAX_CONTAINERS`.
    RequestError
        No JSON, no object, nested too deeply, or numbers that are none (NaN, Infinity).
    """
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise RequestTooLargeError(
            f"the body has more than {MAX_CONTAINERS:,} lists and objects; send fewer tasks at once"
        )
    try:
        # Reading every number by a function of ours is slow, and needed only where there is a very long one.
        parse_int = _usable_int if _LONG_NUMBER.search(body) else None
        found = json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_int=parse_int)
    except RecursionError:
        raise RequestError("the body is nested too deeply; Label Studio's requests are not") from None
    except ValueError as error:
        raise RequestError(f"the body is no JSON ({_short(error)}); send Label Studio's body unchanged") from None
    if not isinstance(found, dict):
        raise RequestError(f"the body is a JSON object, got {_name(found)}")
    if _HALF_A_PAIR.search(body) and not _is_unicode(found):
        raise RequestError("the body has text that is no Unicode (half of a surrogate pair); correct it")
    return found


def check_predict(body: Mapping[str, Any], max_tasks: int) -> dict[str, Any]:
    """A ``/predict`` request whose outer parts have the types that they must have.

    Returns
    -------
    A copy in which ``params`` is there and ``project`` is text.

    Raises
    ------
    RequestError
        A part has another type, or there are no tasks.
    RequestTooLargeError
        More tasks than `max_tasks`.
    """
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise RequestError(f"tasks must be a list of objects, got {_name(tasks)}; send Label Studio's body unchanged")
    if not tasks:
        raise RequestError("tasks is empty; send at least one task")
    if len(tasks) > max_tasks:
        raise RequestTooLargeError(f"{len(tasks)} tasks in one request, at most {max_tasks} are taken; select fewer")
    params = body.get("params") or {}
    if not isinstance(params, dict):
        raise RequestError(f"params must be an object or null, got {_name(params)}")
    context = params.get("context")
    if context is not None and not isinstance(context, dict):
        raise RequestError(f"params.context must be an object or null, got {_name(context)}")
    return {**body, "params": params, "label_config": check_label_config(body), "project": check_project(body)}


def check_setup(body: Mapping[str, Any]) -> dict[str, Any]:
    """A ``/setup`` request whose parts have the types that they must have.

    Raises
    ------
    RequestError
        A part has another type.
    """
    for key in ("schema", "hostname", "access_token"):
        value = body.get(key)
        if value is not None and not isinstance(value, str):
            raise RequestError(f"{key} must be text or null, got {_name(value)}")
    return {**body, "project": check_project(body)}


def check_label_config(body: Mapping[str, Any], key: str = "label_config") -> str:
    """The label config of a request.

    Raises
    ------
    RequestError
        It is missing or no text.
    """
    config = body.get(key)
    if not isinstance(config, str) or not config.strip():
        raise RequestError(f"{key} must be the project's label config as text, got {_name(config)}")
    return config


def check_project(body: Mapping[str, Any]) -> str:
    """What names the project: ``2.1795253121`` from Label Studio; empty where a request names none.

    Raises
    ------
    RequestError
        It is neither text nor a number.
    """
    project = body.get("project")
    if isinstance(project, bool) or not isinstance(project, (str, int, float, type(None))):
        raise RequestError(f"project must be text or a number, got {_name(project)}")
    return "" if project is None else str(project)


def _usable_int(digits: str) -> int:
    """An integer that can also be a float; longer ones stop whatever computes with them."""
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _is_unicode(value: object) -> bool:
    """Whether all text can be written as UTF-8. JSON can name halves of characters, which nothing else takes."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _short(error: ValueError) -> str:
    """Why, without the text that was read: it can be large, and can hold secrets."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return str(error)[:100]


def _name(value: object) -> str:
    """The JSON name of a value's type."""
    names: Mapping[type, str] = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    if isinstance(value, list) and value:
        return f"a list of {', '.join(sorted({names.get(type(one), 'something') for one in value}))}"
    return "empty text" if value == "" else names.get(type(value), type(value).__name__)
