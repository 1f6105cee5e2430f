"""The shell around every HTTP service: problems, request ids, access log, metrics, probes.

Nothing in here reads a request's body.
"""

from libs.common.web.app import create_app, installed_version
from libs.common.web.errors import problem_responses

__all__ = ["create_app", "installed_version", "problem_responses"]
