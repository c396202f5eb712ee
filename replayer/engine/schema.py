"""Passes a batch through Faust undecoded: decoding belongs to the fold, where a failure is a value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import faust


class BatchSchema(faust.Schema[Any, Any]):
    """The schema of every batched topic and table."""

    def compile(  # type: ignore[override] # the callbacks are required here: there is nothing they could fail on
        self, app: Any, *, on_key_decode_error: Any, on_value_decode_error: Any, default_propagate: bool = False
    ) -> Callable[..., Awaitable[Any]]:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, message.headers, message)

        return decode
