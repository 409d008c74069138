"""A rank of several: it counts its rows, uneven and padded, and the sums of all give the figures of all."""

import sys
from pathlib import Path

import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.metrics.samples import ROWS, make_metrics
from triad.metrics.sums import compute_metrics, count_rows


def check(predicts: str, number: int) -> None:
    rows, metrics = ROWS[predicts][:number], make_metrics(predicts)
    own = rows[dist.get_rank() :: dist.get_world_size()]
    padded = [*own, *[(None, [])] * (-(-number // dist.get_world_size()) - len(own))]
    sums = count_rows(metrics, [row[0] for row in padded], [row[1] for row in padded])
    for vector in sums.values():
        dist.all_reduce(vector)
    whole = count_rows(metrics, [row[0] for row in rows], [row[1] for row in rows])
    found, expected = compute_metrics(metrics, sums), compute_metrics(metrics, whole)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(found[name] - value) <= 1e-12 * abs(value), (predicts, number, name, found[name], value)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for kind in ("a label", "a sequence"):
        for rows in (7, 2):  # so that a rank of three has none
            check(kind, rows)
    dist.destroy_process_group()
