"""Personal data: of each kind what is planted is found, and what looks like it stays."""

import random
import re

import pytest

from triad.data.privacy.personal_data import KINDS, has_luhn_digit, mask_personal_data

PLANTED = {
    "email": """ada@example.org|a.b+c@example.com|x_y-z@sub.example.net|info@example.co.uk
        |ADA@EXAMPLE.COM|o'neil@example.ie|jo%tag@example.com|1ada@example.com
        |ada1815@example.museum|josé@example.es|иван@example.ru|a@b.co|a-b@c-d.example.io
        |first.middle.last@example.edu|ada@xn--bcher-kva.example|ada@163.com|+ada@example.com
        |ada@a.b.c.example.org|ada_@example.com|__ada@example.com""",
    "phone": """+1 202-555-0142|+1 (202) 555-0142|+12025550142|(202) 555-0173|202.555.0188|202-555-0199
        |1-202-555-0111|+44 20 7946 0018|+44 (0)20 7946 0018|+49 30 23125 014|+86 138 0013 8000
        |+8613800138000|+33 1 99 00 12 34|+45 32 12 34 56|+61 2 5550 1234|+48 123 456 789
        |+81-3-5555-0123|+91 98765 43210|(415)555-0123|+34 912 345 678""",
    "ip": """192.0.2.17|198.51.100.4|203.0.113.250|8.8.4.4|10.20.30.40|172.16.254.1|192.168.0.10
        |1.1.1.1|100.64.0.7|223.255.254.9|2001:db8::17|2001:0db8:0000:0000:0000:ff00:0042:8329
        |2001:db8:1:2:3:4:5:6|fe80::1|fe80::a00:27ff:fe4e:66a1|2001:DB8::A|2606:4700:4700::1111
        |fd00:1234::1|2001:db8::192.0.2.1|2620:fe::fe""",
    "card": """4111 1111 1111 1111|4111-1111-1111-1111|4111111111111111|5555555555554444
        |5555 5555 5555 4444|5105105105105100|2223003122003222|378282246310005|3782 822463 10005
        |371449635398431|6011111111111117|6011 0009 9013 9424|3530111333300000|3566002020360505
        |30569309025904|38520000023237|3056 930902 5904|6200000000000005|4222222222222
        |4012888888881881""",
    "iban": """GB82WEST12345698765432|GB82 WEST 1234 5698 7654 32|DE89370400440532013000
        |DE89 3704 0044 0532 0130 00|FR1420041010050500013M02606
        |FR14 2004 1010 0505 0001 3M02 606|NL91ABNA0417164300|ES9121000418450200051332
        |IT60X0542811101000000123456|CH9300762011623852957|BE68539007547034|AT611904300234573201
        |NO9386011117947|SE4550000000058398257466|DK5000400440116243|FI2112345600000785
        |PL61109010140000071219812874|IE29AIBK93115212345678|PT50000201231234567890154
        |LU280019400644750000""",
    "id": """11010519491231002X|11010519491231002x|440524188001010014|078-05-1120|219-09-9999
        |123-45-6789|457-55-5462|12345678Z|X1234567L|Y1234567X|00000000T|12345678-Z
        |RSSMRA85T10A562S|111.444.777-35|529.982.247-25|AB 12 34 56 C|JG 10 37 59 A
        |2 55 08 14 168 025 38|255081416802538|CE 12 34 56 D""",
}
PLANTED["id"] = (
    PLANTED["id"]
    .replace("|CE 12 34 56 D", "|CE 12 34 56 D")
    .replace("2 55 08 14 168 025 38", "2 55 08 14 168 025 38")
)
ALIKE = {
    "email": """@dataclass|logo@2x.png|icon@3x.webp|matplotlib@3.8.0|recall@10 = 0.52|5 kg @ 3.50
        |git@github.com:user/repo.git|user@localhost|a @ b.com|@ada@example.social|x@y|me@
        |@example.com|lodash@^4.17|vue@next|a@b@c|app@1.2.min.js|@media print|f@x=3|ada@example""",
    "phone": """2024-01-05 12:30:45|05.01.2024|1.2.3.4.5|978-0-306-40615-7|ISBN 0-306-40615-2|215805592
        |1700000000|1,234,567,890|+0100|+48.8577522|12:30 - 14:45|0190074442|256 512 1024
        |102-555-0142|202-055-0142|v202.555.0142|X202-555-0142|3.14159265358979|106.0512973
        |100-200-300""",
    "ip": """256.300.1.2|1.2.3|1.2.3.4.5|version 1.2.3.4|v1.2.3.4|section 3.2.1.4|10.0.19045.3803
        |01.02.03.04|Chrome/4.0.249.0|255.255.255.0|127.0.0.1|0.0.0.0|torch==2.1.0.1|12:30:45
        |00:1A:2B:3C:4D:5E|std::vector|a::b|x[1::2]|::1|2001:db8:1""",
    "card": """4111 1111 1111 1112|9994111111111111111999|4111111111111|350000000000006|9780000000040
        |1234567890123452|0.4111111111111111|A4111111111111111|4111111111111111X|4111 1111 1111
        |4111-1111-1111-1112|5555555555554445|378282246310006|37828224631000
        |1111 4111 1111 1111 1111|41111111 11111111|7992739871300|0000000000000000
        |20240105123045|3.4111111111111111""",
    "iban": """GB82WEST12345698765433|DE89370400440532013001|FR1420041010050500013M02607|GB82
        |AB12CD34EF56GH78IJ90|SHA256|XX00 0000 0000 0000 0000 01|de89370400440532013000
        |DE8937040044053201300|ISO9001|NL91ABNA0417164301|UTF8|HTTP200|AES256GCM
        |A1B2C3D4E5F6G7H8|CH9300762011623852958|GB82_WEST12345698765432|ID12 3456 7890 1234 5678
        |BE68539007547035|AT611904300234573202""",
    "id": """110105194912310021|11010519491331002X|11010519491231002Y|1101051949123100|000-12-3456
        |666-12-3456|900-12-3456|123-00-4567|123-45-0000|12345678A|X1234567A|RSSMRA85T10A562T
        |111.444.777-36|111.111.111-11|2024-01-05|978-0-306-40615-7|AB123456C|GB 12 34 56 A
        |255081416802539|1234-56-7890""",
}


def split(texts: str) -> list[str]:
    return [text.strip() for text in texts.split("|")]


def mask_everywhere(text: str) -> str:
    """By each kind's expressions alone, tried at all places."""
    for kind, patterns in KINDS.items():
        mask = f"<{kind.upper()}>"
        for pattern in patterns:

            def replace(found: re.Match, holds=pattern.holds, mask=mask) -> str:
                if not holds(found):
                    return found[0]
                start, end = found.span("number" if "number" in found.re.groupindex else 0)
                return found.string[found.start() : start] + mask + found.string[end : found.end()]

            text = pattern.expression.sub(replace, text)
    return text


def test_no_place_at_which_a_pattern_would_match_is_passed_over() -> None:
    draw = random.Random(0)
    whole = [text for texts in (PLANTED, ALIKE) for kind in texts.values() for text in split(kind)]
    parts = ["tel ", "phone number is: ", "call me on ", "0", "12", "123", "12345", "7946-0018", "@", "a.b"]
    parts += ["..", "'", " ", "-", ".", "(", ")", "+1 ", "::", "/", "<", ">", "é", "手机：", "\n", "AB", "_"]
    parts += ["cellphone :.:.: number:.:.:.(", "ring them them them: (020 7946 001"]
    for _ in range(3000):
        pieces = [draw.choice(whole if draw.random() < 0.4 else parts) for _ in range(draw.randint(1, 12))]
        text = "".join(sign for piece in pieces for sign in piece if draw.random() < 0.97)
        assert mask_personal_data(text, [*KINDS]) == mask_everywhere(text)


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_planted_of_each_kind_are_masked_and_the_words_around_them_stay(kind: str) -> None:
    assert len({*split(PLANTED[kind])}) == 20
    for text in split(PLANTED[kind]):
        for line in ("it is {}", "{}, she said", "({}).\nThen", "号码{}有效", "see {} and then"):
            masked = mask_personal_data(line.format(text), [*KINDS])
            assert masked == line.format(f"<{kind.upper()}>"), (text, line)


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_look_alikes_of_each_kind_stay(kind: str) -> None:
    assert len({*split(ALIKE[kind])}) == 20
    for text in split(ALIKE[kind]):
        for line in ("it is {}", "{} is there", "see {} and then"):
            assert mask_personal_data(line.format(text), [*KINDS]) == line.format(text)


def test_a_number_at_home_is_one_where_the_text_says_so() -> None:
    for text in ("phone: {}", "Tel. {}", "call me at {} today", "手机：{}。"):
        assert mask_personal_data(text.format("020 7946 0018"), ["phone"]) == text.format("<PHONE>")
    assert mask_personal_data("手机13800138000", ["phone"]) == "手机<PHONE>"
    assert mask_personal_data("rows 020 7946 0018", ["phone"]) == "rows 020 7946 0018"


def test_only_the_kinds_that_are_asked_for_are_masked() -> None:
    assert mask_personal_data("ada@example.org 192.0.2.17", ["ip"]) == "ada@example.org <IP>"


def test_luhn_s_digit_finds_each_wrong_digit() -> None:
    """ISO/IEC 7812-1: every single error changes the sum."""
    number = "79927398713"
    assert has_luhn_digit(number)
    for place in range(len(number)):
        for digit in set("0123456789") - {number[place]}:
            assert not has_luhn_digit(number[:place] + digit + number[place + 1 :])
