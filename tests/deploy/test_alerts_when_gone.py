"""The series of each alert are taken away, as when the processes that have them are gone: an alert still speaks."""

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.deploy.alert_rules import RULES, rules
from tests.deploy.chart import COMPONENTS, require

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("alerts_test.yaml").read_text())["tests"]
SERVICES = [f"hiper-{component}" for component in COMPONENTS]
ALERTS = {rule["alert"]: rule for rule in rules()}
WATCHED = 6 * 60  # minutes: all windows and lookbacks of the rules have passed by then


class Answer(NamedTuple):
    """Which alert speaks once the series of another are gone, and of which services; `why` it is not that alert."""

    alert: str
    services: tuple[str, ...]
    why: str


EVERY, WITH_BUS = ("ingest", "assembler", "janitor", "auth"), ("ingest", "assembler", "janitor")
DOWN, UNSWEPT = "HiperComponentDown", "HiperSweepNotRunning"
WHEN_GONE = {
    DOWN: Answer(DOWN, EVERY, ""),
    "HiperNotReady": Answer(DOWN, EVERY, "a process that is there says whether it is ready"),
    "HiperUploadsFail": Answer(DOWN, ("ingest",), "only ingest answers uploads; no uploads at all are no failure"),
    "HiperRequestsFail": Answer(DOWN, ("ingest", "auth"), "as above"),
    "HiperTokensSlow": Answer(DOWN, ("auth",), "only auth answers /token"),
    "HiperLoginsFail": Answer(DOWN, ("auth",), "who is not there refuses nobody"),
    "HiperRevocationsStale": Answer(DOWN, ("ingest", "auth"), "the gauge is there as long as the process is"),
    "HiperRequestsShed": Answer(DOWN, ("ingest", "auth"), "who is not there turns nobody away"),
    "HiperMemoryBudgetExhausted": Answer(DOWN, ("ingest",), "the gauge is there as long as the process is"),
    "HiperDownloadsWait": Answer(DOWN, ("ingest",), "the gauge is there as long as the process is"),
    "HiperStoreUnavailable": Answer(DOWN, EVERY, "every process calls the store every few seconds"),
    "HiperStoreSlow": Answer(DOWN, EVERY, "as above"),
    "HiperBusDisconnected": Answer(DOWN, WITH_BUS, "the gauge is there as long as the process is"),
    "HiperEventsUnconfirmed": Answer(DOWN, WITH_BUS, "who is not there publishes nothing"),
    "HiperEventsNotDelivered": Answer(DOWN, WITH_BUS, "nothing is published; of `delivered` alone, see its case"),
    "HiperEventsDropped": Answer(DOWN, WITH_BUS, "it tells of something that happened, and sweeps make up for it"),
    "HiperDeadLetters": Answer(DOWN, ("assembler",), "it tells of something that happened"),
    "HiperDeadLettersFull": Answer(DOWN, WITH_BUS, "no process sees the queue"),
    "HiperFilesLate": Answer(DOWN, ("assembler",), "no file becomes complete"),
    "HiperFilesStuck": Answer(UNSWEPT, (), "only sweeps see uploads that are stuck"),
    "HiperFilesRejected": Answer(DOWN, ("assembler",), "it tells of something that happened"),
    "HiperUploadsGoStale": Answer(DOWN, ("assembler",), "it tells of something that happened"),
    "HiperWebhooksFail": Answer(DOWN, ("janitor",), "only a janitor posts to webhooks"),
    UNSWEPT: Answer(UNSWEPT, (), ""),
}


def expected(alert: str, services: tuple[str, ...]) -> list[dict[str, Any]]:
    """As promtool wants to be told of alerts that fire."""
    rule = ALERTS[alert]
    found = []
    for service in [f"hiper-{name}" for name in services] or [""]:
        words = rule["annotations"]["summary"].replace("{{ $labels.service }}", service)
        words = words.replace("{{ $value | humanizeDuration }}", "1h 0m 0s")
        labels = rule["labels"] | ({"service": service} if service else {})
        found.append({"exp_labels": labels, "exp_annotations": rule["annotations"] | {"summary": words}})
    return found


def run(tmp_path: Path, *tests: dict[str, Any]) -> None:
    """All in one promtool: starting it takes seconds."""
    groups = [{"interval": "1m", **test} for test in tests]
    suite = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": groups}
    (tmp_path / "suite.yaml").write_text(json.dumps(suite))
    command = [require("promtool"), "test", "rules", str(tmp_path / "suite.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def series(service: str) -> dict[str, str]:
    return {"series": f'up{{namespace="hiper",service="{service}"}}', "values": f"1x{WATCHED}"}


SWEEPS = {
    "series": 'hiper_sweep_last_success_timestamp_seconds{namespace="hiper",service="hiper-janitor"}',
    "values": f"60+60x{WATCHED}",
}


def at(alert: str, fires: list[dict[str, Any]]) -> dict[str, Any]:
    return {"eval_time": f"{WATCHED}m", "alertname": alert, "exp_alerts": fires}


def test_of_every_alert_it_is_said_what_speaks_when_its_series_are_gone() -> None:
    assert WHEN_GONE.keys() == ALERTS.keys()
    for alert, answer in WHEN_GONE.items():
        assert answer.alert == alert or answer.why


def test_an_alert_whose_series_are_gone_is_answered_for(tmp_path: Path) -> None:
    run(tmp_path, *map(without_series, CASES))


def without_series(case: dict[str, Any]) -> dict[str, Any]:
    """The series of the alert's own case end, those of the services that have them too; the rest goes on."""
    alert = case["alert_rule_test"][0]["alertname"]
    answer = WHEN_GONE[alert]
    gone = {f"hiper-{name}" for name in answer.services or ("janitor",)}
    own = [given for given in case["input_series"] if not given["series"].startswith("up{")]
    others = [series(service) for service in SERVICES if service not in gone]
    if "hiper-janitor" not in gone:
        others.append(SWEEPS)
    checks = [at(answer.alert, expected(answer.alert, answer.services))]
    if answer.alert != alert:
        checks.append(at(alert, []))
    return {"name": case["name"], "input_series": [*own, *others], "alert_rule_test": checks}


def test_with_no_series_at_all_two_alerts_speak(tmp_path: Path) -> None:
    """As when Prometheus lost every target: that of each service, and that of the sweeps. The rest is silent."""
    speaking = {DOWN: expected(DOWN, EVERY), UNSWEPT: expected(UNSWEPT, ())}
    checks = [at(alert, speaking.get(alert, [])) for alert in ALERTS]
    run(tmp_path, {"input_series": [], "alert_rule_test": checks})


def test_a_service_that_was_never_there_is_missed(tmp_path: Path) -> None:
    run(tmp_path, *map(without_target, COMPONENTS))


def without_target(component: str) -> dict[str, Any]:
    others = [series(service) for service in SERVICES if service != f"hiper-{component}"]
    return {"input_series": others, "alert_rule_test": [at(DOWN, expected(DOWN, (component,)))]}


def test_events_that_are_confirmed_and_not_delivered_are_seen_without_an_assembler(tmp_path: Path) -> None:
    """The one rule whose two halves come from two services."""
    name = 'hiper_bus_events_confirmed_total{namespace="hiper",type="hiper.ChunkReceived.v1"}'
    checks = [at("HiperEventsNotDelivered", expected("HiperEventsNotDelivered", ()))]
    given = [{"series": name, "values": f"0+60x{WATCHED}"}]
    run(tmp_path, {"input_series": given, "alert_rule_test": checks})
