"""What the index needs of an event, read from its projection and nothing else: which things it used."""

from __future__ import annotations

from typing import NamedTuple, Union

import msgspec

from replayer.core.shelf import DOCUMENT, INDEX, MODEL, POLICY, TEMPLATE, TOOL, thing
from topics.usage import Detail

_BEFORE_TYPE = len(b'{"event_type":"')  # canonical content begins so


class Glimpse(NamedTuple):
    """`used`: the thing whose uses are kept one by one, and what is kept of this one. `touched`: things of which the
    index knows the decisions only.
    """

    decision_id: str
    used: tuple[bytes, Detail] | None
    touched: tuple[bytes, ...]


class _Template(msgspec.Struct):
    template_id: str
    version: str


class _Document(msgspec.Struct):
    document_id: str
    version: str | None = None


class _Invocation(msgspec.Struct):
    provider: str
    model: str
    model_version: str | None = None
    prompt_template: _Template | None = None
    latency_ms: int | None = None
    latency_band: str | None = None

    def glimpse(self, decision_id: str, failed: bool) -> Glimpse:
        model = f"{self.provider}/{self.model}"
        touched, template = (thing(MODEL, model, self.model_version),), self.prompt_template
        if template is None:
            return Glimpse(decision_id, None, touched)
        named = model if self.model_version is None else f"{model}@{self.model_version}"
        detail = (named, self.latency_ms, self.latency_band, failed)
        return Glimpse(decision_id, (thing(TEMPLATE, template.template_id, template.version), detail), touched)


class _Call(msgspec.Struct):
    tool_name: str
    tool_version: str | None = None


class _Retrieval(msgspec.Struct):
    index_name: str
    index_version: str | None = None
    documents: tuple[_Document, ...] = ()


class _Evaluation(msgspec.Struct):
    policy_id: str
    outcome: str
    policy_version: str | None = None
    rule_id: str | None = None
    enforced_action: str | None = None
    reason_code: str | None = None


class _Said(msgspec.Struct, tag_field="event_type"):
    decision_id: str = ""


class _Completed(_Said, tag="model.invocation_completed", kw_only=True):
    data: _Invocation

    def glimpse(self) -> Glimpse:
        return self.data.glimpse(self.decision_id, failed=False)


class _Failed(_Said, tag="model.invocation_failed", kw_only=True):
    data: _Invocation

    def glimpse(self) -> Glimpse:
        return self.data.glimpse(self.decision_id, failed=True)


class _Started(_Said, tag="tool.call_started", kw_only=True):
    data: _Call

    def glimpse(self) -> Glimpse:
        return Glimpse(self.decision_id, None, (thing(TOOL, self.data.tool_name, self.data.tool_version),))


class _Answered(_Started, tag="tool.call_completed", kw_only=True):
    pass


class _Broken(_Started, tag="tool.call_failed", kw_only=True):
    pass


class _Retrieved(_Said, tag="retrieval.performed", kw_only=True):
    data: _Retrieval

    def glimpse(self) -> Glimpse:
        data = self.data
        documents = dict.fromkeys(thing(DOCUMENT, one.document_id, one.version) for one in data.documents)
        return Glimpse(self.decision_id, None, (*documents, thing(INDEX, data.index_name, data.index_version)))


class _Evaluated(_Said, tag="policy.evaluated", kw_only=True):
    data: _Evaluation

    def glimpse(self) -> Glimpse:
        data = self.data
        detail = (data.outcome, data.rule_id, data.enforced_action, data.reason_code)
        return Glimpse(self.decision_id, (thing(POLICY, data.policy_id, data.policy_version), detail), ())


_KINDS = (_Completed, _Failed, _Started, _Answered, _Broken, _Retrieved, _Evaluated)
_TYPES = frozenset(str(kind.__struct_config__.tag).encode() for kind in _KINDS)
_decode = msgspec.json.Decoder(Union[_KINDS]).decode  # noqa: UP007 - computed


def glimpse(projection: bytes) -> Glimpse | None:
    """None: an event of this type uses nothing the index is about.

    `projection`: of an event of a version this release knows. Raises msgspec.MsgspecError for one of another.
    """
    if projection[_BEFORE_TYPE : projection.find(b'"', _BEFORE_TYPE)] not in _TYPES:
        return None
    found: Glimpse = _decode(projection).glimpse()
    return found
