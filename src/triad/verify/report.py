"""The table of a verification: how far each layout is from one process, red if too far."""

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
    rows = [_describe_case(result) for result in results]
    columns = [key for key in rows[0] if len({row[key] for row in rows}) > 1] if rows else []
    columns = list(dict.fromkeys(["layout", "model", *columns, "verdict"]))
    same = ", ".join(f"{key} {value}" for key, value in rows[0].items() if value and key not in columns)
    said = [
        result.verdict.removeprefix(f"{row['verdict']}: ") for row, result in zip(rows, results, strict=True)
    ]
    print_table(
        columns,
        [[row[key] for key in columns] for row in rows],
        caption=f"all: {same}" if same else "",
        beneath=["" if result.verdict == "equal" else why for result, why in zip(results, said, strict=True)],
        styles=["red" if result.wrong else "" for result in results],
    )


def _describe_case(result) -> dict[str, str]:
    case = result.case
    worst = result.deviation.worst if result.deviation else {}
    kind = max(worst, key=lambda kind: worst[kind], default="")
    switches = [name for name in ("checkpointing", "compile") if getattr(case, name)]
    verdict = (
        result.verdict.partition(":")[0]
        if result.deviation is None
        else "departs"
        if result.wrong
        else "equal"
    )
    return {
        "layout": case.layout.name,
        "model": case.model,
        "micro": str(case.parts),
        "rows": case.packing,
        "also": " ".join(switches),
        "largest deviation": f"{worst[kind]:.0e} {kind}" if worst else "",
        "bytes": result.traffic,
        "verdict": verdict,
    }


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
