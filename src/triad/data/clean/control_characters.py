"""Characters that are no text."""

import re

# all of Unicode's category Cc but tab, line feed and carriage return; surrogates, which UTF-8 cannot spell
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def control_characters(text: str) -> str:
    """Text without control characters: NUL, escapes, form feeds; half a surrogate pair becomes U+FFFD.

    Tab, line feed and carriage return stay, and so do format characters: U+200C and U+200D join letters of
    Persian and Sinhala and the parts of an emoji, U+FE0F chooses its colours.
    """
    if not CONTROLS.search(text):
        return text
    return CONTROLS.sub(lambda found: "\ufffd" if found[0] > "\ud7ff" else "", text)
