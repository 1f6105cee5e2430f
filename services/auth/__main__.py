"""`python -m services.auth`: one auth process, on PORT."""

from libs.common.web.serving import run
from services.auth.app import build_app

if __name__ == "__main__":
    run(build_app, lambda settings: settings.port, has_devices=True)
