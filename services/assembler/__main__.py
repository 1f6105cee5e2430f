"""`python -m services.assembler`: one assembler process, with probes on METRICS_PORT."""

from libs.common.web.serving import run
from services.assembler.app import build_app

if __name__ == "__main__":
    run(build_app, lambda settings: settings.worker_port)
