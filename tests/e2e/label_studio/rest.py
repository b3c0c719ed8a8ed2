"""What a person does in Label Studio's pages besides annotating, through its REST interface and a login's cookies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from .processes import Account

Json = dict[str, Any]


class LabelStudio:
    """A logged-in user's view of a Label Studio."""

    def __init__(self, url: str, account: Account) -> None:
        self.url = url
        self.http = requests.Session()
        page = self.http.get(f"{url}/user/login/", timeout=30)
        page.raise_for_status()
        form = {"email": account.email, "password": account.password, "csrfmiddlewaretoken": self._csrf()}
        self.http.post(f"{url}/user/login/", data=form, headers={"Referer": url}, timeout=30).raise_for_status()
        assert self.http.cookies.get("sessionid"), "the login failed"

    def close(self) -> None:
        """Let the connections go."""
        self.http.close()

    def personal_access_token(self) -> str:
        """A new token, as *Account & Settings → Personal Access Token* makes it."""
        return str(self.post("/api/token/")["token"])

    def new_project(self, title: str, label_config: str) -> int:
        """Gives the project's id."""
        return int(self.post("/api/projects/", json={"title": title, "label_config": label_config})["id"])

    def upload(self, project: int, *paths: Path) -> list[str]:
        """Upload files one by one, in order; gives the addresses that tasks name them by."""
        addresses = []
        for path in paths:
            with path.open("rb") as stream:
                # Not imported: that would make a task of each.
                answer = self.post(
                    f"/api/projects/{project}/import?commit_to_project=false", files={"file": (path.name, stream)}
                )
            (upload,) = answer["file_upload_ids"]
            addresses.append(f"/data/{self.get(f'/api/import/file-upload/{upload}')['file']}")
        return addresses

    def new_tasks(self, project: int, data: Sequence[Json]) -> list[int]:
        """Gives the tasks' ids, in order."""
        answer = self.post(f"/api/projects/{project}/import?return_task_ids=true", json=list(data))
        return [int(task) for task in answer["task_ids"]]

    def connect(self, project: int, url: str, **settings: Any) -> Json:
        """Connect a backend for clicks and boxes, as the form under *Settings → Model* does."""
        backend = {"url": url, "project": project, "title": "SAM 2", "is_interactive": True, **settings}
        return self.post("/api/ml/", json=backend)

    def retrieve_predictions(self, project: int, tasks: Sequence[int]) -> Json:
        """*Actions → Retrieve predictions* in the list of tasks."""
        chosen = {"selectedItems": {"all": False, "included": list(tasks)}, "project": project}
        return self.post(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", json=chosen)

    def task(self, task: int) -> Json:
        """A task with its annotations and predictions."""
        return self.get(f"/api/tasks/{task}/")

    def export(self, project: int) -> list[Json]:
        """The project as JSON, the way the Export page gives it."""
        found = self.get(f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
        assert isinstance(found, list)
        return found

    def submitted(self, project: int, task: int, timeout_s: float = 20) -> list[Json]:
        """Results of a task's newest annotation in the export; waits until there is one."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            (exported,) = [one for one in self.export(project) if one["id"] == task]
            if exported["annotations"]:
                newest = max(exported["annotations"], key=lambda one: one["id"])
                return list(newest["result"])
            time.sleep(0.5)
        raise AssertionError(f"task {task} has no annotation after {timeout_s} s")

    def get(self, path: str) -> Any:
        """JSON of a page."""
        return _json(self.http.get(f"{self.url}{path}", timeout=60))

    def post(self, path: str, **content: Any) -> Any:
        """JSON that a request is answered with."""
        headers = {"X-CSRFToken": self._csrf(), "Referer": self.url}
        return _json(self.http.post(f"{self.url}{path}", headers=headers, timeout=120, **content))

    def patch(self, path: str, json: Mapping[str, Any]) -> Any:
        """JSON that a change is answered with."""
        headers = {"X-CSRFToken": self._csrf(), "Referer": self.url}
        return _json(self.http.patch(f"{self.url}{path}", headers=headers, timeout=60, json=json))

    def _csrf(self) -> str:
        return str(self.http.cookies.get("csrftoken", ""))


def _json(response: requests.Response) -> Any:
    if not response.ok:
        raise AssertionError(
            f"{response.request.method} {response.url} was answered {response.status_code}: {response.text[:2000]}"
        )
    return response.json() if response.content else {}
