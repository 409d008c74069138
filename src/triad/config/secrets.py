"""Passwords and keys, which are masked in what is printed, recorded or sent.

A secret is the password of a URL (`postgresql://user:PASSWORD@host`), what stands behind a name that says so
(`password=`, `api_key: "..."`, `hub.token=`), and what has the form of a key of a known service. Names of
training are none: `tokens`, `tokenizer`, `pad_token=0`, `query_key_norm=true`.
"""

import re
from typing import Any

MASK = "***"
ALWAYS = r"password|passwd|passphrase|pwd|secret|credentials?|(?:api|access|private|secret|auth)[_-]?key"
ALWAYS += r"|(?:access|auth|bearer|refresh)[_-]?token"
URL = re.compile(r"(?<=://)([^\s:/@'\"]*):([^\s'\"]+)@(?=[^\s@])")
KNOWN = re.compile(
    r"\b(?:hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,})"
)
PREFIX = r"\b(?:[\w-]*[_.-])?"  # the secret's word is the last of a name: neither tokens nor key_shift
QUOTED = re.compile(rf"""(?i)({PREFIX}(?:{ALWAYS})["']?\s*[:=]\s*)(["'])([^"'\n]+)\2""")
# `unknown key: 'widht'` is none: what stands behind a mere key or token has to look drawn at random
RANDOM = re.compile(rf"""(?i)({PREFIX}(?:key|token)["']?\s*[:=]\s*)(["'])(?=[^"'\n]*\d)([^\s"']{{16,}})\2""")
UNQUOTED = re.compile(rf"""(?i)({PREFIX}(?:{ALWAYS})=)([^\s"'&,;()\[\]{{}}]+)""")
KEY = re.compile(rf"(?i)(?:.*[._-])?(?:{ALWAYS}|key|token)")
PLAIN = re.compile(r"(?i)|null|none|true|false|[-+.\de_]+")  # as values of a key or a token that is no secret


def mask(text: str) -> str:
    """A text, such as an error or a diff, without the secrets in it."""
    text = KNOWN.sub(MASK, URL.sub(rf"\1:{MASK}@", text))
    for quoted in (QUOTED, RANDOM):
        text = quoted.sub(rf"\1\2{MASK}\2", text)
    return UNQUOTED.sub(rf"\1{MASK}", text)


def mask_word(word: str) -> str:
    """A word of a command line without its secret: `hub.token=abc` is `hub.token=***`."""
    key, sign, value = word.partition("=")
    return f"{key}={MASK}" if sign and _is_secret(key.lstrip("+~-"), value) else mask(word)


def mask_tree(value: Any, key: str = "") -> Any:
    """A configuration, or another tree of JSON, without the secrets in it."""
    if isinstance(value, dict):
        return {name: mask_tree(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_tree(item, key) for item in value]
    if _is_secret(key, str(value)):
        return MASK
    return mask_word(value) if isinstance(value, str) else value


def _is_secret(key: str, value: str) -> bool:
    if not KEY.fullmatch(key) or value in ("", "None", "null"):
        return False
    return re.search(rf"(?i)(?:{ALWAYS})$", key) is not None or not PLAIN.fullmatch(value)
