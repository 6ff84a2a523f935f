"""The rows of one update dealt out to ranks.

Owns: which rank computes what, and in how many micro-batches. Never makes a tensor. Pure: every rank works out the
same. Invariants: each of the rows is on exactly one rank; all ranks compute equally many micro-batches, as each of them
gathers the model and adds up gradients together with all others.
"""

from collections.abc import Sequence

from learner.batch import MixedGroup, Rows, cut, pack, padded_tokens, plan


def shares(groups: Sequence[MixedGroup], *, num_ranks: int, max_tokens: int) -> list[list[list[Rows]]]:
    """The micro-batches of each rank, of at most `max_tokens` padded tokens; a list without rows is computed idly.

    The largest pieces are dealt first, each to the rank that has least, which keeps every rank's tokens within 4/3 of
    the best division (Graham 1969, theorem 2). A group larger than an equal share is cut, its prompt repeated. One rank
    has what it would have alone.
    """
    if num_ranks == 1:
        return [plan(groups, max_tokens=max_tokens)]
    equal_share = -(-sum(padded_tokens(group.rows) for group in groups) // num_ranks)
    pieces = [piece for group in groups for piece in cut(group.rows, min(max_tokens, equal_share))]
    dealt: list[list[Rows]] = [[] for _ in range(num_ranks)]
    loads = [0] * num_ranks
    for piece in sorted(pieces, key=padded_tokens, reverse=True):
        rank = loads.index(min(loads))
        dealt[rank].append(piece)
        loads[rank] += padded_tokens(piece)
    packed = [pack(mine, max_tokens=max_tokens) for mine in dealt]
    most = max(len(batches) for batches in packed)
    return [batches + [[]] * (most - len(batches)) for batches in packed]
