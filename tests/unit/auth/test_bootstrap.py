"""Secrets for a server that was started without any."""

import multiprocessing
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from libs.common.settings import MIN_SECRET_BYTES, ConfigurationError
from services.auth.bootstrap import load_or_create_secret


def test_the_first_start_makes_a_secret_and_the_next_ones_use_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret_key"
    first = load_or_create_secret(path)
    assert len(first.encode()) >= 2 * MIN_SECRET_BYTES
    assert load_or_create_secret(path) == first
    assert load_or_create_secret(tmp_path / "another") != first
    assert [child.name for child in path.parent.iterdir()] == ["secret_key"]


def test_nobody_but_the_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    load_or_create_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_that_start_together_get_the_same_secret(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        secrets = pool.map(load_or_create_secret, [tmp_path / "secret_key"] * 16, chunksize=1)
    assert len(set(secrets)) == 1
    assert [child.name for child in tmp_path.iterdir()] == ["secret_key"]


def test_who_comes_second_in_a_race_takes_the_secret_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret_key"
    first = load_or_create_secret(path)
    with monkeypatch.context() as late:
        late.setattr(Path, "exists", lambda _: False)  # it looked a moment too early
        assert load_or_create_secret(path) == first
    assert [child.name for child in tmp_path.iterdir()] == ["secret_key"]


def test_a_file_that_others_can_read_is_used_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    secret = load_or_create_secret(path)
    path.chmod(0o640)
    with capture_logs() as logs:
        assert load_or_create_secret(path) == secret
    assert [line["event"] for line in logs] == ["secret_file_exposed"]
    assert secret not in str(logs)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 64])
def test_a_file_without_a_good_secret_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret_key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="secret_key"):
        load_or_create_secret(path)
    assert path.read_bytes() == content


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        load_or_create_secret(tmp_path / "file" / "secret_key")
