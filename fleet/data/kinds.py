"""What kinds of personal data are looked for, by content."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """`unread` is a place that could not be looked at: it may hold anything."""

    EMAIL = "email"
    PHONE = "phone"
    IBAN = "iban"
    FISCAL_CODE = "codice_fiscale"
    VAT_NUMBER = "partita_iva"
    CARD = "card"
    NAME = "name"
    IP = "ip"
    UNREAD = "unread"
