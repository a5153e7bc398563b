"""Personal data in texts: e-mail addresses, phone, card and account numbers.

Here: finding them, for guardrails and for training sets. Not here: what is done about them, and names and postal
addresses, which no pattern tells from other words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?!\w)")
_CARD = re.compile(r"(?<!\d)(?<!\d[ -])[2-6]\d{3}(?:[ -]?\d){9,15}(?!\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}", re.IGNORECASE)
_SOME_DIGITS = re.compile(r"(?:\d\D{0,3}){7}")
# Lengths by country, from SWIFT's IBAN registry.
_IBAN_REGISTRY = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18
    FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21
    LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27
    ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""
_IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_REGISTRY.split()}
# Where a locale names no region: the most speakers.
_REGION_OF = {
    "en": "US", "de": "DE", "fr": "FR", "es": "ES", "it": "IT", "pt": "BR", "nl": "NL", "pl": "PL", "sv": "SE",
    "da": "DK", "no": "NO", "nb": "NO", "fi": "FI", "cs": "CZ", "ja": "JP", "ko": "KR", "zh": "CN", "ru": "RU",
    "tr": "TR", "uk": "UA", "hi": "IN", "el": "GR", "he": "IL", "hu": "HU", "ro": "RO",
}  # fmt: skip


@dataclass(frozen=True)
class PersonalData:
    """One piece of personal data, in a form that compares: digits without spaces, addresses in lower case."""

    kind: str
    value: str


@dataclass(frozen=True)
class Found:
    """Where it stands in a text."""

    data: PersonalData
    start: int
    end: int


def personal_data_in(text: str, locale: str | None) -> list[Found]:
    """What a plain text holds, in order of kind; a number found as an account is not found again as a phone.

    Card numbers pass the Luhn check (ISO/IEC 7812-1), accounts the mod-97 check of ISO 13616 at their country's length,
    phone numbers what Google's libphonenumber knows of the locale's region, or of any region when written with +.
    """
    found: list[Found] = []
    for finder in (_emails, _accounts, _cards):
        for one in finder(text):
            found.append(one)
            text = text[: one.start] + " " * (one.end - one.start) + text[one.end :]
    return found + list(_phones(text, locale))


def without_personal_data(text: str, locale: str | None) -> str:
    """The text with what `personal_data_in` finds blanked out, for rules about what stands beside it."""
    for one in personal_data_in(text, locale):
        text = text[: one.start] + " " * (one.end - one.start) + text[one.end :]
    return text


def personal_data_masked(text: str, locale: str | None) -> str:
    """The text with the kind of personal data in brackets where it stood: `[phone number]`."""
    for one in sorted(personal_data_in(text, locale), key=lambda one: -one.start):
        text = f"{text[: one.start]}[{one.data.kind}]{text[one.end :]}"
    return text


def passes_luhn(digits: str) -> bool:
    """Whether the check digit at the end is right: every second digit from the right doubled, digits summed, mod 10."""
    doubled = [int(digit) * (1 + position % 2) for position, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_iban(compact: str) -> bool:
    """Whether an account number without spaces, in capitals, has its country's length and check digits."""
    if not compact.isascii() or _IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def _emails(text: str) -> Iterator[Found]:
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        yield Found(PersonalData("e-mail address", match[0].lower()), match.start(), match.end())


def _accounts(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        # The pattern may run on into the words that follow; the country says where the number ends.
        wanted = _IBAN_LENGTHS.get(match[0][:2].upper(), 0)
        places = [place for place, character in enumerate(match[0]) if character != " "][:wanted]
        compact = "".join(match[0][place] for place in places).upper()
        if is_iban(compact):
            yield Found(PersonalData("account number", compact), match.start(), match.start() + places[-1] + 1)


def _cards(text: str) -> Iterator[Found]:
    for match in _CARD.finditer(text):
        digits = re.sub("[ -]", "", match[0])
        if passes_luhn(digits):
            yield Found(PersonalData("card number", digits), match.start(), match.end())


def _phones(text: str, locale: str | None) -> Iterator[Found]:
    if not _SOME_DIGITS.search(text):
        return
    # Here and not above: its patterns take a while to load, and most texts hold no seven digits.
    import phonenumbers

    for match in phonenumbers.PhoneNumberMatcher(text, _region_of(locale), leniency=phonenumbers.Leniency.VALID):
        number = phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)
        yield Found(PersonalData("phone number", number), match.start, match.end)


def _region_of(locale: str | None) -> str | None:
    """The region whose way of writing phone numbers counts; None: only numbers with + do."""
    if not locale:
        return None
    language, *rest = locale.replace("_", "-").split("-")
    return next((part.upper() for part in rest if len(part) == 2), _REGION_OF.get(language.lower()))
