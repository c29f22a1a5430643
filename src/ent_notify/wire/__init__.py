"""Forms on the wire: JSON (orjson) and msgpack give the same values; cursors are opaque texts."""
