"""What the simulated support agent talks about: intents, documents, tools, and two versions of its answering prompt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from topics.fields import PromptTemplate


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt template and its text."""

    text: str
    template: PromptTemplate


def _prompt(version: str, text: str) -> Prompt:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Prompt(text, PromptTemplate(template_id="support-answer", version=version, sha256=digest))


ANSWER_V1 = _prompt(
    "1",
    "You answer customers of an online shop.\n"
    "Use the order data and the help articles you are given.\n"
    "Be polite and complete. Explain the policy that applies.\n",
)
ANSWER_V2 = _prompt(
    "2",
    "You answer customers of an online shop.\n"
    "Use only the order data and the help articles you are given; where they are silent, say so and offer a person.\n"
    "Answer in at most four sentences, the decision first. Quote the policy by its name, do not retell it.\n"
    "Never promise an amount or a date that is not in the order data.\n",
)


@dataclass(frozen=True, slots=True)
class Document:
    """A help article; its hash says which text was found."""

    name: str
    sha256: str


def _document(name: str) -> Document:
    return Document(name, hashlib.sha256(f"help article {name}, revision 7".encode()).hexdigest())


TOOLS = ("get_order", "get_shipment", "issue_refund", "change_address", "get_invoice", "cancel_order")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a customer wants, and what the agent does about it. Texts take `{order}`."""

    name: str
    route: str
    requests: tuple[str, ...]
    tools: tuple[str, ...]
    documents: tuple[Document, ...]
    answer: str
    corrected: str


INTENTS = (
    Intent(
        "late_delivery",
        "shipping",
        (
            "Where is my order {order}? It should have been here on Monday.",
            "Tracking for {order} has not moved for four days.",
        ),
        ("get_order", "get_shipment"),
        (_document("shipping-times"), _document("lost-parcels")),
        "Order {order} left our warehouse and is with the carrier; it should reach you within two working days.",
        "Order {order} is delayed at the carrier. We have opened an investigation and will write to you by tomorrow.",
    ),
    Intent(
        "refund",
        "billing",
        (
            "I sent {order} back two weeks ago and have not seen my money.",
            "Please refund {order}, the wrong size came.",
        ),
        ("get_order", "issue_refund"),
        (_document("refund-policy"), _document("returns")),
        "We have refunded order {order} to the card you paid with; it takes up to five working days to appear.",
        "Order {order} arrived after the return period; we refund half of it as a goodwill gesture.",
    ),
    Intent(
        "change_address",
        "orders",
        ("Can {order} go to my new address?", "I moved house, please change where {order} is sent."),
        ("get_order", "change_address"),
        (_document("address-changes"),),
        "Order {order} has not been packed yet, and its address has been changed.",
        "Order {order} has left already. You can redirect it in the carrier's app.",
    ),
    Intent(
        "invoice",
        "billing",
        ("I need an invoice with VAT for {order}.", "The invoice for {order} shows the wrong company."),
        ("get_invoice",),
        (_document("invoices"),),
        "The invoice for order {order} is in your account, under documents.",
        "We have issued a corrected invoice for order {order}.",
    ),
    Intent(
        "cancel",
        "orders",
        ("Cancel {order} please.", "I ordered twice by mistake, {order} can go."),
        ("get_order", "cancel_order"),
        (_document("cancellations"), _document("refund-policy")),
        "Order {order} has been cancelled and nothing will be charged.",
        "Order {order} is on its way; refuse the parcel and we refund it in full.",
    ),
)
