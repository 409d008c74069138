"""The table of a verification: how far each layout is from one process, red if too far."""

from collections import Counter
from pathlib import Path

from triad.config.tables import print_table, to_markdown


def show(results: list, markdown: Path | None) -> int:
    """Print a row for each comparison, write it as markdown if asked; return how many are wrong."""
    if len(results) == 1 and (deviation := results[0].deviation):
        worst = [[kind, f"{apart:.0e}"] for kind, apart in deviation.worst.items()]
        print_table(["compared", "largest deviation"], worst, results[0].case.layout.name)
        print(results[0].verdict)
    else:
        _print_results(results)
    compared = [result for result in results if result.deviation]
    wrong = sum(result.wrong for result in results)
    refused = len(results) - len(compared) - sum(r.wrong and not r.deviation for r in results)
    print(f"{len(compared)} compared, {wrong} depart or failed, {refused} refused as impossible")
    if markdown:
        markdown.write_text(as_markdown(results), encoding="utf-8")
    return wrong


def _print_results(results: list) -> None:
    """The cases with the largest deviation of any kind; a verdict that is a sentence stands below its row."""
    choices = [_list_choices(result.case) for result in results]
    same = set.intersection(*map(set, choices)) if choices else set()
    rows = []
    for result, chosen in zip(results, choices, strict=True):
        worst = result.deviation.worst if result.deviation else {}
        largest = max(worst, key=lambda kind: worst[kind], default="")
        verdict = "departs" if result.wrong and worst else result.verdict.partition(":")[0]
        rows.append([result.case.layout.name, result.case.model])
        rows[-1] += [", ".join(choice for choice in chosen if choice not in same)]
        rows[-1] += [f"{worst[largest]:.0e} {largest}" if worst else "", verdict]
        rows[-1] += ["" if verdict == result.verdict else result.verdict]
    styles = ["red" if result.wrong else "" for result in results]
    header = ["layout", "model", "with", "largest deviation", "verdict", ""]
    print_table(header, rows, keys=2, whole=True, styles=styles)
    if same:
        print(f"all with {', '.join(choice for choice in choices[0] if choice in same)}")
    for found, count in Counter(result.traffic for result in results if result.traffic).items():
        print(f"bytes and messages of {count}: {found}")


def _list_choices(case) -> list[str]:
    switches = [name for name in ("checkpointing", "compile") if getattr(case, name)]
    return [f"{case.parts} micro-batch{'es' * (case.parts != 1)}", case.packing, *switches]


def as_markdown(results: list) -> str:
    """One row for each layout, one column for each model: the largest difference of any kind."""
    models = list(dict.fromkeys(result.case.model for result in results))
    rows = []
    for layout in dict.fromkeys(result.case.layout.name for result in results):
        here = [result for result in results if result.case.layout.name == layout]
        rows.append([layout, *(_cell([r for r in here if r.case.model == model]) for model in models)])
    return to_markdown(["layout", *models], rows)


def _cell(results: list) -> str:
    if any(result.wrong for result in results):
        return "**departs**"
    worst = [max(result.deviation.worst.values()) for result in results if result.deviation]
    return f"{max(worst):.0e}" if worst else "-"
