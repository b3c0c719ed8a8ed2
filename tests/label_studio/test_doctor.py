"""What the doctor finds, and what he says to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ls_backend.config_advice import config_findings
from ls_backend.doctor import Doctor
from ls_backend.findings import Finding
from ls_backend.settings import MediaSettings, Settings
from sam2_engine.cli import main
from tests.label_studio.media_cases import Server, needing, picture_bytes, redirect, running, send, send_json
from tests.label_studio.studio_cases import CONFIG, TOKEN, Studio, install, studio

VERSION = "sam2-default-0123"
EXAMPLES = Path(__file__).parents[2] / "examples" / "label_studio"


@pytest.fixture
def backend() -> Iterator[Server]:
    with running() as server:
        server.pages["/health"] = send_json({"status": "UP", "model_class": "Sam2Backend", "model": "ready"})
        server.pages["/versions"] = send_json({"versions": [VERSION]})
        yield server


@pytest.fixture
def there(backend: Server) -> Iterator[Studio]:
    """A project in which all is well."""
    with studio() as found:
        found.project["title"] = "Cells"
        found.add(picture_bytes())
        row = {"id": 5, "url": backend.url, "is_interactive": True, "error_message": None, "state": "CO"}
        found.backends.append(row)
        found.webhooks.append({"id": 1, "url": f"{backend.url}/webhook", "is_active": True, "headers": {}})
        found.server.pages["/api/ml/5/versions"] = send_json({"versions": [VERSION]})
        yield found


def examined(there: Studio, backend: Server, token: str | None = TOKEN, **options: Any) -> list[Finding]:
    settings = options.pop("settings", Settings())
    settings = replace(settings, media=MediaSettings(label_studio_url=there.url, api_key=token))
    doctor = Doctor(settings, backend.url, **({"project": 1, "model_version": lambda: VERSION} | options))
    return list(doctor.examine())


def bad(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.state in ("problem", "warning")]


def only(findings: list[Finding]) -> Finding:
    """The one thing that is wrong."""
    (found,) = bad(findings)
    return found


def test_where_all_is_well_nothing_has_to_be_done(there: Studio, backend: Server) -> None:
    findings = examined(there, backend)
    assert {one.state for one in findings} == {"ok"}
    assert [one.check for one in findings] == [
        *("versions", "model", "server", "Label Studio", "token", "project", "label config", "pictures (/data/upload)"),
        *("connection", "webhook"),
    ]


def test_numbers_that_the_processor_does_not_know_are_told(
    there: Studio, backend: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ls_backend.doctor.knows_bf16", lambda device: False)
    assert bad(examined(there, backend)) == []
    for precision, said in (("bf16", "take longer"), ("int8", "will not load")):
        found = only(examined(there, backend, settings=Settings(precision=precision)))  # type: ignore[arg-type]
        assert found.check == "numbers" and "SAM2_PRECISION" in found.found and said in found.found


def test_a_server_that_does_not_run_is_found(there: Studio, backend: Server) -> None:
    backend.shutdown()
    backend.server_close()
    found = only(examined(there, backend))
    assert found.check == "server" and found.fix == "start it: sam2 serve label-studio"


def test_another_backend_at_the_address_is_found(there: Studio, backend: Server) -> None:
    backend.pages["/health"] = send_json({"status": "UP", "model_class": "Other"})
    assert "another backend" in only(examined(there, backend)).found


def test_a_model_that_is_not_there_yet_or_not_at_all_is_found(there: Studio, backend: Server) -> None:
    backend.pages["/versions"] = send_json({"error": "model_unavailable"}, 503)
    for state, expected in (("loading", "warning"), ("failed", "problem")):
        backend.pages["/health"] = send_json({"status": "UP", "model_class": "Sam2Backend", "model": state})
        assert only(examined(there, backend)).state == expected


def test_the_servers_password_is_used_and_a_wrong_one_found(there: Studio, backend: Server) -> None:
    backend.pages["/versions"] = needing("Bearer geheim", send_json({"versions": [VERSION]}))
    there.webhooks[0]["url"] += "?token=geheim"
    found = only(examined(there, backend, settings=Settings(token="other-secret")))
    assert "SAM2_TOKEN" in found.fix and "other-secret" not in found.found
    assert bad(examined(there, backend, settings=Settings(token="geheim"))) == []


def test_a_webhook_without_the_password_is_found(there: Studio, backend: Server) -> None:
    found = only(examined(there, backend, settings=Settings(token="geheim")))
    assert found.check == "webhook" and "?token=" in found.fix and "geheim" not in found.fix


def test_label_studio_that_is_not_set_or_down_is_found(there: Studio, backend: Server) -> None:
    nowhere = Doctor(Settings(), backend.url)
    assert "set LABEL_STUDIO_URL" in only(list(nowhere.examine())).fix
    there.server.shutdown()
    there.server.server_close()
    found = only(examined(there, backend))
    assert "cannot be reached" in found.found and "container" in found.fix


@pytest.mark.parametrize("token", ["wrong", None])
def test_a_token_that_is_refused_is_found(there: Studio, backend: Server, token: str | None) -> None:
    found = only(examined(there, backend, token))
    assert found.check == "Label Studio" and "personal access token" in found.found


def test_a_project_that_is_not_there_is_found(there: Studio, backend: Server) -> None:
    assert "No Project matches" in only(examined(there, backend, project=9)).found


def test_without_a_project_the_rest_is_left_out(there: Studio, backend: Server) -> None:
    findings = examined(there, backend, project=None)
    assert findings[-1] == Finding("project", "skipped", "none was named", "give --project N to look at one")


# ------------------------------------------------------------------------------------------------ pictures


def test_one_picture_of_each_kind_of_address_is_fetched_and_opened(there: Studio, backend: Server) -> None:
    there.add(b"no picture")
    for address in ("http://images.example.org/x.png", "http://images.example.org/y.png", "s3://bucket/x.png"):
        there.add(b"")["data"]["image"] = address
    there.server.pages["/tasks/5/presign/"] = send(b"", status=404)
    findings = [one for one in examined(there, backend) if one.check.startswith("pictures")]
    assert [(one.check, one.state) for one in findings] == [
        *(("pictures (/data/upload)", "ok"), ("pictures (http://images.example.org)", "problem")),
        ("pictures (s3://bucket)", "problem"),
    ]
    assert "SAM2_ALLOWED_HOSTS" in findings[1].found and "storage" in findings[2].found


def test_a_login_page_in_place_of_a_picture_is_found(there: Studio, backend: Server) -> None:
    there.server.pages[there.tasks[1]["data"]["image"]] = redirect("/user/login/")
    there.server.pages["/user/login/"] = send(b"<html>", "text/html")
    assert only(examined(there, backend)).check == "pictures (/data/upload)"


def test_a_picture_that_was_exchanged_is_found(there: Studio, backend: Server) -> None:
    region = {"original_width": 20, "original_height": 30}
    there.tasks[1]["annotations"] = [{"result": [region]}]
    assert "exchanged" in only(examined(there, backend)).fix


# ------------------------------------------------------------------------------------------------ the connection


def test_a_project_without_a_model_is_found_and_can_be_connected(there: Studio, backend: Server) -> None:
    row = there.backends.pop()
    assert "--connect" in only([one for one in examined(there, backend) if one.check == "connection"]).fix
    there.once("POST", "/api/ml/", send_json(row, 201))
    assert bad(examined(there, backend, connect=True)) == []


def test_a_model_is_connected_beside_another_one(there: Studio, backend: Server) -> None:
    row = there.backends.pop()
    there.backends.append({"id": 2, "url": "http://old:1", "is_interactive": False})
    there.once("POST", "/api/ml/", send_json(row, 201))
    assert bad(examined(there, backend, connect=True)) == []


def test_a_label_studio_that_refuses_private_addresses_is_found(there: Studio, backend: Server) -> None:
    refusal = {"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}
    there.server.pages["/api/ml/5/versions"] = send_json({"error": refusal["detail"]}, 500)
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in only(examined(there, backend)).fix
    there.backends.clear()
    there.once("POST", "/api/ml/", send_json(refusal, 403))
    assert "ML_BLOCK_LOCAL_IP=false" in only(examined(there, backend, connect=True)).fix


def test_a_model_that_is_not_asked_when_people_click_is_found(there: Studio, backend: Server) -> None:
    there.backends[0]["is_interactive"] = False
    assert "Interactive preannotations" in only(examined(there, backend)).fix


def test_an_older_model_that_gets_the_clicks_is_found(there: Studio, backend: Server) -> None:
    there.backends.insert(0, {"id": 2, "url": "http://old:9091", "is_interactive": True})
    assert "http://old:9091" in only(examined(there, backend)).found
    there.backends[0]["is_interactive"] = False
    assert bad(examined(there, backend)) == []


def test_a_model_that_label_studio_cannot_reach_is_found(there: Studio, backend: Server) -> None:
    there.server.pages["/api/ml/5/versions"] = send_json({"error": "Connection refused"}, 500)
    found = only(examined(there, backend))
    assert "Connection refused" in found.found and "container" in found.fix


def test_two_servers_with_other_weights_are_found(there: Studio, backend: Server) -> None:
    there.server.pages["/api/ml/5/versions"] = send_json({"versions": ["older"]})
    assert "two servers" in only(examined(there, backend)).fix


def test_a_missing_webhook_is_found(there: Studio, backend: Server) -> None:
    there.webhooks[0]["is_active"] = False
    assert "/webhook under Settings > Webhooks" in only(examined(there, backend)).fix


# ------------------------------------------------------------------------------------------------ label configs


def view(*tags: str) -> str:
    return f"<View>{''.join(tags)}</View>"


IMAGE, PAGES = '<Image name="image" value="$image"/>', '<Image name="image" valueList="$images"/>'
LABELS = '<Label value="Cell"/>'
MASK = f'<BrushLabels name="mask" toName="image">{LABELS}</BrushLabels>'
CLICK = f'<KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">{LABELS}</KeyPointLabels>'
BOX = f'<RectangleLabels name="box" toName="image" smart="true" smartOnly="true">{LABELS}</RectangleLabels>'


@pytest.mark.parametrize("config", [CONFIG, view(IMAGE, MASK, CLICK), view(PAGES, MASK, CLICK, BOX)])
def test_good_label_configs_have_nothing_to_say_about(config: str) -> None:
    assert [one.state for one in config_findings(config)] == ["ok"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.xml")), ids=lambda path: path.name)
def test_our_examples_have_nothing_to_say_about(path: Path) -> None:
    assert [one.state for one in config_findings(path.read_text(encoding="utf-8"))] == ["ok"]


@pytest.mark.parametrize(
    ("config", "state", "found"),
    [
        ("<View", "problem", "no XML"),
        (view(MASK), "problem", "no picture"),
        (view(IMAGE, CLICK), "problem", "can hold a mask"),
        (view(IMAGE, CLICK, BOX), "warning", "only become boxes"),
        (view(IMAGE, MASK), "problem", "no smart tool"),
        (view(IMAGE, MASK, CLICK.replace('smart="true" ', 'smart="false" ')), "problem", "no smart tool"),
        (view(IMAGE, MASK, CLICK.replace(' smartOnly="true"', "")), "warning", "plain one may be active"),
        (view(IMAGE, MASK, CLICK.replace('value="Cell"', 'value="Dog"')), "warning", "offers 'Dog'"),
        (view(PAGES, MASK, CLICK), "problem", "every export"),
        (view('<Video name="v" value="$v"/>', '<Labels name="l" toName="v"/>'), "problem", "hold a track"),
        (view('<Video name="v" value="$v"/>', '<VideoRectangle name="b" toName="v"/>'), "problem", "no labels"),
    ],
)
def test_what_is_wrong_with_a_label_config_is_found(config: str, state: str, found: str) -> None:
    one = only(config_findings(config))
    assert one.state == state and found in one.found
    assert one.fix or config == "<View"


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def environment(there: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setenv("LABEL_STUDIO_URL", there.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)


@pytest.mark.usefixtures("environment")
def test_the_command_says_that_all_is_well(there: Studio, backend: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-studio", "doctor", "--project", "1", "--backend-url", f"{backend.url}/"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("all is well\n") and "[ok] model: sam2-default-" in said
    assert TOKEN not in said


@pytest.mark.usefixtures("environment")
def test_the_command_prints_the_fix_and_ends_with_one(
    there: Studio, backend: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    there.backends[0]["is_interactive"] = False
    assert main(["label-studio", "doctor", "--project", "1", "--backend-url", backend.url]) == 1
    said = capsys.readouterr().out
    assert "[XX] connection" in said and "     fix: switch on" in said and said.endswith("1 problem, 0 warnings\n")


@pytest.mark.usefixtures("environment")
def test_the_command_gives_json(there: Studio, backend: Server, capsys: pytest.CaptureFixture[str]) -> None:
    there.webhooks.clear()
    assert main(["label-studio", "doctor", "--project", "1", "--backend-url", backend.url, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["is_well"] and said["findings"][-1]["check"] == "webhook"
    assert set(said["findings"][-1]) == {"check", "state", "found", "fix"}
