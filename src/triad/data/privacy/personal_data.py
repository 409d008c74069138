"""Personal data in text, each kind by a pattern and by what its numbers must fulfil.

Every pattern is tried at few places and goes over each character a bounded number of times, so that its time
is linear: it begins where none of its characters stands before, and rows are of bounded length or possessive.
The places are found by a pattern that begins with a set of characters and looks back at nothing, which
Python's engine searches for some twenty times as fast (all kinds: 18 MB/s of prose, 1 before; 2026-11-29).
"""

import re
from collections.abc import Callable, Iterable
from datetime import date
from ipaddress import AddressValueError, IPv6Address
from typing import Literal, NamedTuple

Kind = Literal["email", "iban", "card", "id", "ip", "phone"]


class Pattern(NamedTuple):
    """What one kind of data looks like; a group `number`, where there is one, is what is masked.

    Each match has a match of `near` in it, which is behind its start by a number of characters in `behind`.
    """

    expression: re.Pattern
    holds: Callable[[re.Match], bool]
    near: re.Pattern
    behind: Iterable[int] = (0,)
    digits: int = 1  # that a match has at least, as SEVERAL counts them


def mask_personal_data(text: str, kinds: list[Kind]) -> str:
    """Text in which <EMAIL>, <PHONE>, <IP>, <CARD>, <IBAN> and <ID> stand for what is of these kinds.

    email   local part and host of RFC 5321 without quotes; no file names (logo@2x.png), no git@host:path
    phone   with + and country code, of North America with area code, or behind a word such as `phone`
    ip      IPv4 and IPv6 of a host: no netmasks, loopback, versions and numbers of sections
    card    by issuer's prefix, length and Luhn's check digit (ISO/IEC 7812)
    iban    by ISO 7064 MOD 97-10
    id      numbers of the state: China (GB 11643), USA (social security), Spain, Italy, France, Brazil, by
            their check digits where they have some, and Britain's national insurance

    A digit that stands beside a number, or a decimal point, makes it another number; so does a mask, which
    stands for a number, and a second pass finds nothing.
    """
    digits = SEVERAL_DIGITS if SEVERAL.search(text) else 1 if DIGIT.search(text) else 0
    for kind in KINDS:
        for pattern in KINDS[kind] if kind in kinds else ():
            if pattern.digits <= digits:
                text = _replace(pattern, f"<{kind.upper()}>", text)
    return text


DIGIT = re.compile("[0-9]")
SEVERAL_DIGITS = 7
SEVERAL = re.compile(r"[0-9](?:[ .\-/()]{0,3}+[0-9]){6}")


def _replace(pattern: Pattern, mask: str, text: str) -> str:
    """As `pattern.expression.sub` does, at the places where a match can begin."""
    group = "number" if "number" in pattern.expression.groupindex else 0
    kept, written, done = [], 0, 0
    for near in pattern.near.finditer(text):
        for start in _find_starts(pattern, near, done):
            if start >= done and (found := pattern.expression.match(text, start)):
                done = found.end()
                if pattern.holds(found):
                    begin, end = found.span(group)
                    kept += [text[written:begin], mask]
                    written = end
    return "".join([*kept, text[written:]]) if kept else text


def _find_starts(pattern: Pattern, near: re.Match, done: int) -> Iterable[int]:
    """Where a match may begin that has what was found in it, from left to right."""
    if pattern.expression is not EMAIL:
        return [max(0, near.start() - count) for count in pattern.behind]
    before = near.string[max(done, near.start() - LONGEST_LOCAL) : near.start()]
    begin = near.start() - len(before) + len(before.rstrip(LOCAL))
    return (run.start() for run in RUN.finditer(near.string, begin, near.start()))


def has_luhn_digit(digits: str) -> bool:
    """Whether the last digit is Luhn's check digit of the others: ISO/IEC 7812-1, annex B."""
    every = [int(digit) for digit in reversed(digits)]
    return sum(every[::2] + [digit * 2 - 9 * (digit > 4) for digit in every[1::2]]) % 10 == 0


def _digits(found: str) -> str:
    return "".join(re.findall(r"[0-9]", found))


# e-mail
FILES = {  # what a name ends with that is a file's and no host's
    *("asp", "avif", "bmp", "css", "csv", "dll", "exe", "gif", "gz", "htm", "html", "ico", "jpeg", "jpg"),
    *("js", "json", "jsx", "mjs", "mov", "mp3", "mp4", "pdf", "php", "png", "svg", "tar", "tif", "tiff"),
    *("ts", "tsx", "txt", "wav", "webp", "xml", "yaml", "yml", "zip"),
}
LETTER = r"A-Za-z0-9\u00c0-\u024f\u0370-\u04ff_%+\-"
EMAIL = re.compile(
    rf"(?<![{LETTER}@])(?<![{LETTER}][.'])[{LETTER}]{{1,64}}+(?:[.'][{LETTER}]{{1,64}}+){{0,8}}+"
    r"@(?:[A-Za-z0-9\u00c0-\u024f][A-Za-z0-9\u00c0-\u024f\-]{0,62}+\.){1,9}[A-Za-z]{2,24}+"
    r"(?![A-Za-z0-9_])(?!-[A-Za-z0-9])"
)

AT = re.compile("@")
LONGEST_LOCAL = 9 * 65  # characters of a local part
LOCAL = "".join(filter(re.compile(f"[{LETTER}.']").match, map(chr, range(0x500))))
RUN = re.compile(f"[{LETTER}]+")


def _is_address(found: re.Match) -> bool:
    host = found[0].rpartition("@")[2]
    behind = found.string[found.end() : found.end() + 2]
    path = behind[:1] == ":" and not behind[1:].isspace() and behind[1:] != ""
    return host.rpartition(".")[2].lower() not in FILES and not path


# internet addresses
OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = re.compile(
    rf"(?<![0-9A-Za-z_\-])(?<![0-9A-Za-z_]\.){OCTET}(?:\.{OCTET}){{3}}(?![0-9A-Za-z_])(?!-[A-Za-z])(?!\.[0-9A-Za-z<])"
)
IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{4}:(?:[0-9A-Fa-f]{0,4}:){1,7}+(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4})(?![0-9A-Za-z:])(?!\.[0-9<])"
)
NUMBERED = re.compile(
    r"(?:\b(?:v|ver|version|release|rel|build|rev|revision|firmware|patch|update|driver|section|sections|sec|clause"
    r"|chapter|article|paragraph|para|rule|figure|fig|table|item|step|annex|appendix|oid)[\s.:=#]{0,3}|§+\s?|[A-Za-z]/|[=~<>^]=\s?)\Z",
    re.IGNORECASE,
)
NEAR = 24  # characters before a number in which a word says what it is


def _is_host(found: re.Match) -> bool:
    first, second = (int(part) for part in found[0].split(".")[:2])
    before = found.string[max(0, found.start() - NEAR) : found.start()]
    mask = first in (0, 127) or (first, second) == (255, 255)
    return not mask and not NUMBERED.search(before)


def _is_host_of_ipv6(found: re.Match) -> bool:
    try:
        address = IPv6Address(found[0])
    except AddressValueError:
        return False
    return address.packed[0] >> 5 == 1 or address.packed[0] >> 1 == 0xFC >> 1 or address.is_link_local


# payment cards
CARD = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9>][.,\-])(?<![0-9]{4} )"
    r"(?:[0-9]{13,19}+|[0-9]{4}([ \-])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|[0-9]{4}([ \-])[0-9]{6}\2[0-9]{4,5})(?![0-9A-Za-z_])(?![.,\-][0-9<])"
)
ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}(?:[0-9]{3})?"  # Discover
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}"  # JCB
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11}"  # Diners Club
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{9,15}"  # Maestro
)


def _is_card(found: re.Match) -> bool:
    digits = _digits(found[0])
    return bool(ISSUERS.fullmatch(digits)) and has_luhn_digit(digits)


# bank accounts
IBAN = re.compile(
    r"(?<![0-9A-Za-z_])[A-Z]{2}[0-9]{2}"
    r"(?:[A-Z0-9]{11,30}+|(?: [A-Z0-9]{4}){2,7}+(?: [A-Z0-9]{1,3})?+)(?![0-9A-Za-z_])"
)


def _is_iban(found: re.Match) -> bool:
    return _fulfils_mod_97(found[0].replace(" ", ""))


def _fulfils_mod_97(account: str) -> bool:
    turned = account[4:] + account[:4]
    return int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


# numbers of the state
APART = r"(?<![0-9A-Za-z_])(?<![0-9>][.,\-]){}(?![0-9A-Za-z_])(?![.,\-][0-9<])"
CHINA = re.compile(APART.format(r"[1-9][0-9]{16}[0-9Xx]"))
AMERICA = re.compile(APART.format(r"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}"))
SPAIN = re.compile(APART.format(r"(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-Z]"))
ITALY = re.compile(APART.format(r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]"))
FRANCE = re.compile(
    APART.format(r"[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}")
)
BRAZIL = re.compile(APART.format(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}"))
BRITAIN = re.compile(
    APART.format(
        r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] [0-9]{2} [0-9]{2} [0-9]{2} [A-D]"
    )
)
ODD_VALUES = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _is_chinese(found: re.Match) -> bool:
    """GB 11643-1999: region, date of birth, order, and a check character by ISO 7064 MOD 11-2."""
    number = found[0].upper()
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17] and 1850 < int(number[6:10]) < 2100


def _is_spanish(found: re.Match) -> bool:
    """The letter of DNI and NIE: the number modulo 23, Real Decreto 1553/2005."""
    number = found[0].replace("-", "")
    digits = str("XYZ".find(number[0])) + number[1:8] if number[0] in "XYZ" else number[:8]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


def _is_italian(found: re.Match) -> bool:
    """The codice fiscale's last letter: Decreto Ministeriale 23 December 1976."""
    values = [int(sign) if sign.isdigit() else ord(sign) - ord("A") for sign in found[0][:15]]
    total = sum(ODD_VALUES[value] for value in values[::2]) + sum(values[1::2])
    return chr(ord("A") + total % 26) == found[0][15]


def _is_french(found: re.Match) -> bool:
    """The key of the NIR: 97 less the number modulo 97; Corsica's 2A and 2B count as 19 and 18."""
    number = found[0].replace(" ", "").replace("2A", "19").replace("2B", "18")
    return 97 - int(number[:13]) % 97 == int(number[13:])


def _is_brazilian(found: re.Match) -> bool:
    """The two check digits of the CPF."""
    every = [int(digit) for digit in _digits(found[0])]
    checks = [sum(d * (end + 1 - i) for i, d in enumerate(every[:end])) * 10 % 11 % 10 for end in (9, 10)]
    return checks == every[9:] and len({*every}) > 1


# telephones
AREA = r"[2-9][0-9]{2}"
BEHIND = r"(?![0-9A-Za-z_])(?![.,\-/][0-9<])"
GROUP = r"[ .\-/]{0,2}\([0-9]{1,5}\)[0-9]{0,12}+|[ .\-/][0-9]{1,12}+"
ABROAD = re.compile(rf"(?<![0-9A-Za-z_+])\+[2-9][0-9]{{0,14}}+(?:{GROUP}){{0,6}}+{BEHIND}")
NORTH_AMERICA = re.compile(
    r"(?<![0-9A-Za-z_+])(?<![0-9>][.,\-/])(?:"
    rf"\+1[ .\-]?\(?{AREA}\)?[ .\-]?{AREA}[ .\-]?[0-9]{{4}}"
    rf"|(?:1[ .\-])?(?:\({AREA}\) ?{AREA}[ .\-]?|{AREA}([.\-]){AREA}\1)[0-9]{{4}}){BEHIND}"
)
SAID = re.compile(
    r"(?:\b(?:tel|telephone|phones?|mobile|cell|cellphone|fax|whatsapp|hotline|telefon|handy|tél|téléphone|teléfono"
    r"|móvil|telefono)\b|电话|電話|手机|手機|传真)[\s:.#：()（]{0,6}+(?:(?:no|nr|number|is|at|on)\b|号码?|號碼?|是)?+"
    r"[\s:.#：]{0,6}+(?P<number>\(?[0-9]{1,11}\)?(?:[ .\-/][0-9]{2,8}){0,4}+)" + BEHIND,
    re.IGNORECASE,
)
CALLED = re.compile(
    r"\b(?:call|dial|ring|text|sms)(?: (?:me|us|him|her|them|back|at|on|now|free)\b){0,3}+[ :]{1,2}"
    r"(?P<number>\(?0[0-9]{2,5}\)?(?:[ \-][0-9]{3,8}){1,3}+)" + BEHIND,
    re.IGNORECASE,
)


def _is_number_abroad(found: re.Match) -> bool:
    groups = re.findall(r"[0-9]+", found[0])
    decimal = len(groups) == 2 and "." in found[0]
    return 9 + (len(groups) == 1) <= sum(map(len, groups)) <= 15 and not decimal and "000" not in groups[1:]


def _is_number_at_home(found: re.Match) -> bool:
    return 7 <= len(_digits(found["number"])) <= 13


def _always(found: re.Match) -> bool:
    return True


# the first character of a match, or what stands `behind` it
KINDS: dict[Kind, tuple[Pattern, ...]] = {  # in this order: what a check digit proves comes before phones
    "email": (Pattern(EMAIL, _is_address, AT, digits=0),),
    "iban": (Pattern(IBAN, _is_iban, re.compile(r"[A-Z](?=[A-Z][0-9]{2})")),),
    "card": (Pattern(CARD, _is_card, re.compile(r"[0-9](?=[0-9]{3}[ \-]?[0-9]{4})"), digits=SEVERAL_DIGITS),),
    "id": (
        Pattern(CHINA, _is_chinese, re.compile(r"[1-9](?=[0-9]{16})"), digits=SEVERAL_DIGITS),
        Pattern(AMERICA, _always, re.compile(r"[0-8](?=[0-9]{2}-[0-9]{2}-)"), digits=SEVERAL_DIGITS),
        Pattern(SPAIN, _is_spanish, re.compile(r"[0-9XYZ](?=[0-9]{7}-?[A-Z])"), digits=SEVERAL_DIGITS),
        Pattern(ITALY, _is_italian, re.compile(r"[A-Z](?=[A-Z]{5}[0-9]{2})")),
        Pattern(FRANCE, _is_french, re.compile(r"[12](?= ?[0-9]{2} ?[01][0-9])"), digits=SEVERAL_DIGITS),
        Pattern(BRAZIL, _is_brazilian, re.compile(r"[0-9](?=[0-9]{2}\.[0-9]{3}\.)"), digits=SEVERAL_DIGITS),
        Pattern(BRITAIN, _always, re.compile(r"[A-Z](?=[A-Z] [0-9]{2} )")),
    ),
    "ip": (
        Pattern(IPV6, _is_host_of_ipv6, re.compile(r":(?=[0-9A-Fa-f:])"), (4,)),
        Pattern(IPV4, _is_host, re.compile(r"[0-9](?=[0-9]{0,2}\.[0-9]{1,3}\.[0-9])")),
    ),
    "phone": (
        Pattern(NORTH_AMERICA, _always, re.compile(r"[+(1-9](?=[0-9 .\-()]{11})"), digits=SEVERAL_DIGITS),
        Pattern(ABROAD, _is_number_abroad, re.compile(r"\+(?=[2-9])"), digits=SEVERAL_DIGITS),
        Pattern(
            SAID,
            _is_number_at_home,
            re.compile(r"[0-9](?:\)?[ .\-/]?[0-9]){6,}+"),
            range(28, 0, -1),
            digits=SEVERAL_DIGITS,
        ),
        Pattern(CALLED, _is_number_at_home, re.compile(r"0(?=[0-9]{2,5}\)?[ \-][0-9]{3})"), range(22, 3, -1)),
    ),
}
