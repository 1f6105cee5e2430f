"""The metrics of the services, as their code declares them: for the documents and for tests of alerts and panels."""

from types import ModuleType
from typing import NamedTuple

from prometheus_client.metrics import MetricWrapperBase

import libs.common.bus._metrics
import libs.common.observability.outcomes
import libs.common.security.audit_trail
import libs.common.security.revocations
import libs.common.storage.metered
import libs.common.web.access
import libs.common.web.access_log
import libs.common.web.answers
import libs.common.web.errors
import libs.common.web.probes
import libs.common.webhooks.metrics
import services.assembler.metrics
import services.ingest.metrics
import services.janitor.metrics

MODULES: dict[str, tuple[ModuleType, ...]] = {
    "every service": (
        libs.common.web.access,
        libs.common.web.access_log,
        libs.common.web.errors,
        libs.common.web.probes,
        libs.common.web.answers,
        libs.common.storage.metered,
    ),
    "auth, ingest": (libs.common.security.audit_trail, libs.common.security.revocations),
    "ingest": (services.ingest.metrics,),
    "ingest, assembler": (libs.common.observability.outcomes,),
    "ingest, assembler, janitor": (libs.common.bus._metrics,),
    "assembler": (services.assembler.metrics,),
    "janitor": (services.janitor.metrics, libs.common.webhooks.metrics),
}


class Metric(NamedTuple):
    """`name` as Prometheus stores it; of a histogram without _bucket, _count, _sum."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    source: str

    @property
    def series(self) -> set[str]:
        """The names that an expression can ask for."""
        if self.kind == "histogram":
            return {f"{self.name}_{part}" for part in ("bucket", "count", "sum")}
        return {self.name}


def _metrics() -> list[Metric]:
    found = []
    for source, modules in MODULES.items():
        for module in modules:
            for declared in vars(module).values():
                if isinstance(declared, MetricWrapperBase) and not declared._labelvalues:
                    (family,) = declared.describe()
                    name = f"{family.name}_total" if family.type == "counter" else family.name
                    help_ = family.documentation
                    found.append(Metric(name, family.type, tuple(declared._labelnames), help_, source))
    return found


METRICS = _metrics()
SERIES = {series for metric in METRICS for series in metric.series}
