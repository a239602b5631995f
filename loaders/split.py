"""Seeded, stratified splits that tear no group apart."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# As lists write it, in small letters.
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def assign_splits(rows: Sequence[tuple[str, str, str]], *, shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Gives each group of clips to one split, so that every class comes near its share in every split.

    Greedy, largest groups first: a group goes to the split that lacks most of the classes that the group holds. With
    groups of one clip this is a stratified split: each class is at most one clip off its share.

    Args:
        rows: (file, label, group) of each clip.
        shares: split -> share of the clips, >= 0; those with share 0 get nothing.
        seed: equal seeds give equal splits, whatever the order of the rows.

    Returns:
        file -> split.
    """
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (file, label, _), group in zip(rows, _joined(rows), strict=True):
        members[group].append((file, label))
    total = Counter(sorted(label for _, label, _ in rows))  # sorted: sums must not hang on the order of the rows
    lacking = {name: {label: share * n for label, n in total.items()} for name, share in shares.items() if share > 0}
    order = sorted(members)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    splits: dict[str, str] = {}
    for group in order:
        held = Counter(label for _, label in members[group])

        def gain(split: str, held: Counter[str] = held) -> float:
            # How much nearer to its shares the group brings the split, each class by its own size.
            wants = lacking[split]
            return sum((wants[label] ** 2 - (wants[label] - n) ** 2) / total[label] for label, n in held.items())

        # Splits that gain alike: the one that lacks more clips of any class.
        best = max(lacking, key=lambda name: (round(gain(name), 9), round(sum(lacking[name].values()), 9)))
        for label, n in held.items():
            lacking[best][label] -= n
        splits.update((file, best) for file, _ in members[group])
    return splits


def _joined(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """The group of each row; groups that share a file are one."""
    leader: dict[str, str] = {}

    def find(group: str) -> str:
        while leader.setdefault(group, group) != group:
            leader[group] = group = leader[leader[group]]
        return group

    held: dict[str, str] = {}  # file -> a group that holds it
    for file, _, group in rows:
        first, last = sorted((find(group), find(held.setdefault(file, group))))
        leader[last] = first  # by name, whatever the order of the rows
    return [find(group) for _, _, group in rows]
