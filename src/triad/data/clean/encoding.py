"""Repair of text that was decoded in the wrong encoding."""


def encoding(text: str) -> str:
    """Text with its mojibake repaired, `sÃ³` as `só`, line by line, by ftfy's `fix_encoding` (Speer 2019).

    Nothing else of ftfy's: quotes, ligatures, widths and entities stay. ASCII needs no repair.
    """
    if text.isascii():
        return text
    from ftfy import fix_encoding

    lines = text.split("\n")
    return "\n".join(line if line.isascii() else fix_encoding(line) for line in lines)


encoding.packages = ("ftfy",)
