"""The API for a host's web and mobile clients: a small ASGI app, to be mounted in a host or served by the gateway.

::

    api = create_app(load_settings())
    app = FastAPI(lifespan=api.lifespan)        # the engine is opened and closed with the host
    app.mount("/notify", api)
"""

from ent_notify.asgi.app import Api, create_app

__all__ = ["Api", "create_app"]
