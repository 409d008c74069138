"""Best-fit-decreasing bin packing of sizes that are small integers."""

import numpy as np


def pack_best_fit(sizes_N: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each item, numbered from 0; sizes are 1 ... capacity.

    Items go, the largest first, into the fullest bin that still takes them: Ding et al. 2024, "Fewer
    truncations improve language modeling", arXiv:2404.10830, section 3.

    Bins of the same room are alike, and the fullest that takes an item is, if it takes another of that size,
    still the fullest. So all items of a size go into a group of such bins in one step.
    """
    order_N = np.argsort(-sizes_N, kind="stable")
    sizes, counts = np.unique(sizes_N, return_counts=True)
    bins_N = np.empty(len(sizes_N), np.int64)
    groups: list[list[np.ndarray]] = [[] for _ in range(capacity + 1)]  # of bins, by their room
    rooms = opened = at = 0  # bit r of `rooms` is set while there are groups of room r

    for size, count in zip(sizes[::-1].tolist(), counts[::-1].tolist(), strict=True):
        end = at + count
        while at < end:
            if fitting := rooms >> size:
                room = size + (fitting & -fitting).bit_length() - 1
                bins = groups[room].pop()
            else:
                room = capacity
                bins = np.arange(opened, opened - (at - end) // (room // size))  # rounded up
                opened += len(bins)
            each = room // size
            placed = min(end - at, each * len(bins))
            full, more = divmod(placed, each)
            bins_N[order_N[at : at + placed]] = np.repeat(bins[: full + 1], each)[:placed]
            at += placed
            used = full + (more > 0)
            rest = {room % size: bins[:full], room - more * size: bins[full:used], room: bins[used:]}
            for left, some in rest.items():
                if len(some):
                    groups[left].append(some)
                rooms = rooms | 1 << left if groups[left] else rooms & ~(1 << left)
    return bins_N
