"""Seeded, stratified splits that tear no group apart."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence


def assign_parts(rows: Sequence[tuple[str, str, str]], *, shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Gives each group of clips to one part, so that every class comes near its share in every part.

    Greedy, largest groups first: a group goes to the part that lacks most of the classes that the group holds. With
    groups of one clip this is a stratified split: each class is at most one clip off its share.

    Args:
        rows: (file, label, group) of each clip.
        shares: part -> share of the clips, >= 0; parts with share 0 get nothing.
        seed: equal seeds give equal parts, whatever the order of the rows.

    Returns:
        file -> part.
    """
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (file, label, _), group in zip(rows, _joined(rows), strict=True):
        members[group].append((file, label))
    total = Counter(sorted(label for _, label, _ in rows))  # sorted: sums must not hang on the order of the rows
    lacking = {part: {label: share * n for label, n in total.items()} for part, share in shares.items() if share > 0}
    order = sorted(members)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    parts: dict[str, str] = {}
    for group in order:
        held = Counter(label for _, label in members[group])

        def gain(part: str, held: Counter[str] = held) -> float:
            # How much nearer to its shares the group brings the part, each class by its own size.
            wants = lacking[part]
            return sum((wants[label] ** 2 - (wants[label] - n) ** 2) / total[label] for label, n in held.items())

        # Parts that gain alike: the one that lacks more clips of any class.
        best = max(lacking, key=lambda part: (round(gain(part), 9), round(sum(lacking[part].values()), 9)))
        for label, n in held.items():
            lacking[best][label] -= n
        parts.update((file, best) for file, _ in members[group])
    return parts


def _joined(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """The group of each row; groups that share a file are one."""
    leader: dict[str, str] = {}

    def find(group: str) -> str:
        while leader.setdefault(group, group) != group:
            leader[group] = group = leader[leader[group]]
        return group

    held: dict[str, str] = {}  # file -> a group that holds it
    for file, _, group in rows:
        leader[find(group)] = find(held.setdefault(file, group))
    return [find(group) for _, _, group in rows]
