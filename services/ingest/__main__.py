"""`python -m services.ingest`: one ingest process, on PORT."""

from libs.common.web.serving import run
from services.ingest.app import build_app

if __name__ == "__main__":
    run(build_app, lambda settings: settings.port)
