"""What is remembered for some seconds is forgotten after them, and before where there is too much of it."""

from libs.common.security.recent import Recent


def test_a_value_is_there_for_its_seconds_and_no_longer() -> None:
    now = 100.0
    recent = Recent[int](10, 5, lambda: now)
    recent.put("a", 1)
    now += 9.9
    assert recent.get("a") == 1
    now += 0.1
    assert recent.get("a") is None


def test_beyond_the_limit_the_oldest_is_forgotten() -> None:
    recent = Recent[int](10, 2, lambda: 0.0)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        recent.put(key, value)
    assert [recent.get(key) for key in "abc"] == [3, None, 4]
