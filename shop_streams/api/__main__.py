"""The API's process."""

import sys

from shop_streams.api.app import build_app
from shop_streams.errors import in_one_line
from shop_streams.serve import serve
from shop_streams.settings import get_settings


def main() -> int:
    """Serve until SIGTERM; returns the exit code."""
    settings = get_settings()
    serve(build_app(settings), settings.bind_host, settings.api_port)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
