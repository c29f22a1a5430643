"""A school platform on Django that publishes in its own transactions.

Run it (settings.py says where the database is; ent-notify.toml or the environment configure the engine)::

    ent-notify migrate
    django-admin migrate --pythonpath . --settings examples.django_backend.settings
    uvicorn examples.django_backend.asgi:application --port 8000

``outbox`` publishes in Django's transaction, ``notify`` asks the engine, ``admin`` uses both, ``asgi`` mounts the API.
"""
