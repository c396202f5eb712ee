"""PURE. The language on the wire: envelope, families, codec, catalogue. Imports: stdlib, pydantic, msgspec."""
