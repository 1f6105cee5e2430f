"""Whose credentials are used, and that nobody else can read them."""

import stat
from pathlib import Path

import pytest

from libs.client.errors import HiperError
from libs.client.profile import DEFAULT_SERVER, Profile, credentials, load, profile_path, save

SAVED = Profile(server="https://files.example", device_id="car-7", client_secret="s3cret")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose profile, in a directory of its own, is SAVED."""
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    save(SAVED, profile_path(env))
    return env


def test_the_profile_is_where_xdg_says(tmp_path: Path) -> None:
    assert profile_path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "hiper" / "profile.json"


@pytest.mark.parametrize("env", [{}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "relative/path"}])
def test_else_it_is_below_the_home_directory(env: dict[str, str]) -> None:
    assert profile_path(env) == Path.home() / ".config" / "hiper" / "profile.json"


def test_what_is_saved_is_loaded_and_only_the_owner_can_read_it(env: dict[str, str]) -> None:
    path = profile_path(env)
    assert load(path) == SAVED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_saving_again_closes_a_profile_that_others_could_read(env: dict[str, str]) -> None:
    path = profile_path(env)
    path.chmod(0o644)
    save(SAVED, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["profile.json"]


def test_a_damaged_profile_is_a_clear_error(env: dict[str, str]) -> None:
    profile_path(env).write_text("{")
    with pytest.raises(HiperError, match=r"cannot use .*profile\.json") as caught:
        credentials(env)
    assert "hiper login" in caught.value.hint


def test_the_saved_login_is_used(env: dict[str, str]) -> None:
    assert credentials(env) == SAVED


def test_the_environment_goes_first(env: dict[str, str]) -> None:
    env |= {"HIPER_SERVER": "http://other", "HIPER_DEVICE_ID": "car-8", "HIPER_DEVICE_SECRET": "x"}
    assert credentials(env) == Profile(server="http://other", device_id="car-8", client_secret="x")


def test_id_and_secret_of_the_environment_go_to_the_saved_server(env: dict[str, str]) -> None:
    env |= {"HIPER_DEVICE_ID": "car-8", "HIPER_DEVICE_SECRET": "x"}
    assert credentials(env) == Profile(server=SAVED.server, device_id="car-8", client_secret="x")


def test_without_any_server_it_is_this_machine(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path), "HIPER_DEVICE_ID": "a", "HIPER_DEVICE_SECRET": "b"}
    assert credentials(env).server == DEFAULT_SERVER


def test_a_saved_secret_is_never_sent_to_another_server(env: dict[str, str]) -> None:
    env["HIPER_SERVER"] = "https://elsewhere.example"
    with pytest.raises(HiperError, match=r"saved login is for https://files\.example"):
        credentials(env)


def test_the_saved_server_may_be_named_with_a_slash(env: dict[str, str]) -> None:
    env["HIPER_SERVER"] = f"{SAVED.server}/"
    assert credentials(env) == SAVED


@pytest.mark.parametrize("name", ["HIPER_DEVICE_ID", "HIPER_DEVICE_SECRET"])
def test_an_id_without_a_secret_is_refused(env: dict[str, str], name: str) -> None:
    with pytest.raises(HiperError, match="belong together"):
        credentials(env | {name: "x"})


def test_without_anything_the_error_says_how_to_log_in(tmp_path: Path) -> None:
    with pytest.raises(HiperError, match="not logged in") as caught:
        credentials({"XDG_CONFIG_HOME": str(tmp_path)})
    assert "hiper login" in caught.value.hint


def test_a_user_without_a_home_directory_needs_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    login = {"HIPER_DEVICE_ID": "car-7", "HIPER_DEVICE_SECRET": "s3cret"}
    assert credentials(login).server == DEFAULT_SERVER
    with pytest.raises(HiperError, match="not logged in"):
        credentials({})
    with pytest.raises(HiperError, match="no home directory"):
        profile_path({})
