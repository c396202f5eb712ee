"""PURE. The language on the wire: envelope, families, codec, catalogue, commands and results. Imports: stdlib, pydantic, msgspec, orjson."""
