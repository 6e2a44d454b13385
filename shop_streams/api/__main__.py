"""The API's process."""

from shop_streams.api.app import build_app
from shop_streams.serve import serve
from shop_streams.settings import get_settings

if __name__ == "__main__":
    settings = get_settings()
    serve(build_app(settings), settings.bind_host, settings.api_port)
