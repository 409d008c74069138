"""Names of a sweep and of its trials, outputs/<sweep>/<trial>: they follow from the words that start them.

`-m optimizer=adamw,muon seed=0,1 debug=tiny` writes outputs/optimizer-seed-<digest>/optimizer-muon-seed-0 and
three more. A name is made of letters, digits, `-`, `_` and `.`, which no shell, file system or W&B changes. A
trial's begins with what differs between trials; where it does not spell that out (a list, a path, capitals,
more than fits) a digest of the words follows, so that no two trials have one name.
"""

import json
import re
from hashlib import blake2b

KEY = re.compile(r"[a-z_][a-z0-9_.]*")
PLAIN = re.compile(r"-?[a-z0-9_.]+(-[a-z0-9_.]+)*")  # a value that stands in a name as it is
LONG_NUMBER = re.compile(r"-?\d+\.\d{5,}(e-?\d+)?")
DIGEST = re.compile(r"(.*-)?[0-9a-f]{8}")
LONGEST_VALUE, LONGEST = 24, 80


def make_sweep_id(keys: list[str], fixed: list[str]) -> str:
    """The name of a sweep: the keys whose values it goes through, and a digest of these and its other words.

    It does not depend on the values: with further ones the same sweep goes on.
    """
    shown = "-".join(map(_clean, _shorten_keys(keys)))[:LONGEST].strip("-.")
    return f"{shown or 'run'}-{_digest([keys, fixed])}"


def make_trial_id(words: list[str]) -> str:
    """The name of a trial: the words in which the trials of its sweep differ, `key=value`, in their order."""
    pairs = [word.partition("=")[::2] for word in words]
    keys = _shorten_keys([key for key, _ in pairs])
    values = [value for _, value in pairs]
    shown = "-".join(f"{_clean(key)}-{_show_value(value)}" for key, value in zip(keys, values, strict=True))
    shown = shown[:LONGEST].strip("-.")
    written = "-".join(f"{key}-{value}" for key, value in zip(keys, values, strict=True))
    return shown if shown == written and _is_plain(keys, values) else f"{shown or 'run'}-{_digest(words)}"


def _is_plain(keys: list[str], values: list[str]) -> bool:
    """Whether keys and values can be read back from the name, also where capitals count for nothing."""
    spelled = all(map(KEY.fullmatch, keys)) and all(map(PLAIN.fullmatch, values))
    tokens = {token for value in values for token in value.split("-")}
    return bool(keys) and spelled and not tokens & {*keys} and not DIGEST.fullmatch(values[-1])


def _shorten_keys(keys: list[str]) -> list[str]:
    """Keys by their last part, `lr` for optimizer.lr; in full where two would be the same."""
    whole = [key.lstrip("+~").rpartition("@")[2].removesuffix("._target_") for key in keys]
    last = [re.split(r"[./]", key)[-1] for key in whole]
    return [short if last.count(short) == 1 else key for short, key in zip(last, whole, strict=True)]


def _show_value(value: str) -> str:
    """What a name shows of a value: of a path its last part, of a long number four digits."""
    value = value.replace("+", "")
    if LONG_NUMBER.fullmatch(value):
        return f"{float(value):.4g}".replace("+", "")
    if PLAIN.fullmatch(value) and len(value) <= LONGEST_VALUE:
        return value
    return _clean(re.split(r"/|\.(?=[A-Z])", value.strip("'\"/"))[-1])[:LONGEST_VALUE].strip("-.")


def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def _digest(words: list) -> str:
    return blake2b(json.dumps(words).encode(), digest_size=4).hexdigest()
