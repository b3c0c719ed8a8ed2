"""Settings: what the environment tells, and what it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ls_backend.outlines import Outline
from ls_backend.settings import VARIABLES, CacheSettings, MediaSettings, Settings, SettingsError


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_only_this_machine_is_listened_to_by_default() -> None:
    assert Settings().host == "127.0.0.1"


def test_names_that_people_know_are_read() -> None:
    settings = Settings.from_env(
        {
            "LABEL_STUDIO_URL": "https://labels.example.org/",
            "LABEL_STUDIO_API_KEY": "secret-key",
            "MODEL_CHECKPOINT": "sam2.1_hiera_tiny.pt",
            "DEVICE": "CUDA:1",
            "PORT": "9191",
            "LOG_LEVEL": "debug",
            "BASIC_AUTH_USER": "me",
            "BASIC_AUTH_PASS": "secret-pass",
            "LOCAL_FILES_DOCUMENT_ROOT": "/data/files",
            "MAX_FRAMES_TO_TRACK": "7",
            "VERIFY_SSL": "false",
        }
    )
    assert settings.media == MediaSettings(
        label_studio_url="https://labels.example.org",
        api_key="secret-key",
        local_root=Path("/data/files"),
        verify_tls=False,
    )
    assert (settings.model, settings.device, settings.port) == ("sam2.1_hiera_tiny.pt", "cuda:1", 9191)
    assert (settings.log_level, settings.user, settings.password) == ("DEBUG", "me", "secret-pass")
    assert settings.frames_range == 7


def test_the_older_names_count_where_the_newer_ones_are_empty() -> None:
    settings = Settings.from_env({"LABEL_STUDIO_URL": " ", "LABEL_STUDIO_HOST": "http://ls:8080"})
    assert settings.media.label_studio_url == "http://ls:8080"
    both = {"LABEL_STUDIO_ACCESS_TOKEN": "old", "LABEL_STUDIO_API_KEY": "new"}
    assert Settings.from_env(both).media.api_key == "new"


def test_overrides_count_more_than_the_environment_and_none_leaves_it() -> None:
    environ = {"PORT": "9191", "MODEL": "sam2.1_hiera_small", "SAM2_CACHE_RAM": "1MB"}
    settings = Settings.from_env(environ, port=0, model=None, cache_disk_bytes=5, media_max_redirects=1)
    assert (settings.port, settings.model) == (0, "sam2.1_hiera_small")
    assert settings.cache == CacheSettings(ram_bytes=1_000_000, disk_bytes=5)
    assert settings.media.max_redirects == 1


def test_an_unknown_override_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="prot"):
        Settings.from_env({}, prot=1)


def test_number_formats_are_read_and_checked() -> None:
    settings = Settings.from_env({"SAM2_PRECISION": "BF16", "SAM2_FEATURE_FORMAT": "bfloat16"})
    assert (settings.precision, settings.cache.stored) == ("bf16", "bfloat16")
    assert Settings.from_env({}, precision="bf16").precision == "bf16"
    assert Settings().precision == "fp32"
    with pytest.raises(SettingsError, match="SAM2_PRECISION must be fp32, bf16 or int8, got 'fp8'"):
        Settings.from_env({"SAM2_PRECISION": "fp8"})


def test_outlines_are_read() -> None:
    environ = {"SAM2_POLYGON_TOLERANCE": "2.5", "SAM2_POLYGON_MIN_AREA": "0", "SAM2_POLYGON_HOLES": "fill"}
    assert Settings.from_env(environ).outline == Outline(2.5, 0, "fill")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1048576", 1 << 20), ("2GiB", 2 << 30), ("512 MB", 512_000_000), ("1.5k", 1500), ("0", 0), ("7b", 7)],
)
def test_sizes_are_read_with_their_units(text: str, expected: int) -> None:
    assert Settings.from_env({"SAM2_CACHE_RAM": text}).cache.ram_bytes == expected


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("DEVICE", "gpu"),
        ("LOG_LEVEL", "loud"),
        ("SAM2_CACHE_RAM", "much"),
        ("SAM2_MEDIA_TIMEOUT", "0"),
        ("SAM2_MEDIA_TIMEOUT", "nan"),
        ("SAM2_MEDIA_TIMEOUT", "inf"),
        ("VERIFY_SSL", "maybe"),
        ("SAM2_POLYGON_HOLES", "keep"),
        ("LABEL_STUDIO_URL", "ftp://ls"),
        ("LABEL_STUDIO_URL", "labels.example.org"),
        ("LABEL_STUDIO_URL", "http://ls:notaport"),
        ("LABEL_STUDIO_URL", "http://[::1"),
        ("LABEL_STUDIO_URL", "http://me:pass@ls"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} must be .*, got "):
        Settings.from_env({variable: text})


def test_half_of_a_login_is_an_error() -> None:
    with pytest.raises(SettingsError, match="BASIC_AUTH_PASS"):
        Settings.from_env({"BASIC_AUTH_USER": "me"})
    with pytest.raises(SettingsError, match="BASIC_AUTH_USER"):
        Settings.from_env({"BASIC_AUTH_PASS": "secret"})
    with pytest.raises(SettingsError, match="colon"):
        Settings(user="a:b", password="c")


def test_secrets_are_never_shown() -> None:
    environ = {"SAM2_TOKEN": "s3cret-1", "BASIC_AUTH_USER": "me", "BASIC_AUTH_PASS": "s3cret-2"}
    settings = Settings.from_env(environ | {"LABEL_STUDIO_API_KEY": "s3cret-3"})
    assert "s3cret" not in repr(settings)


def test_auth_is_needed_where_a_token_or_a_login_is_set() -> None:
    assert not Settings().needs_auth
    assert Settings(token="x").needs_auth
    assert Settings(user="a", password="b").needs_auth


def test_no_variable_sets_two_things() -> None:
    variables = [name for names, _ in VARIABLES.values() for name in names]
    assert len(variables) == len(set(variables))


def test_text_of_a_command_line_is_read_as_in_the_environment() -> None:
    settings = Settings.from_env(
        {}, device="CUDA", media_label_studio_url="http://ls:8080/", media_local_root=Path("x")
    )
    assert (settings.device, settings.media.label_studio_url) == ("cuda", "http://ls:8080")
    assert settings.media.local_root == Path("x")
    with pytest.raises(SettingsError, match=r"^device must be auto, cpu"):
        Settings.from_env({}, device="gpu")


def test_every_variable_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "label_studio_server.md").read_text(encoding="utf-8")
    missing = [name for names, _ in VARIABLES.values() for name in names if f"`{name}`" not in page]
    assert not missing
