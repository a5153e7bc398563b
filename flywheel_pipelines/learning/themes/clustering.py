"""Groups among the tickets that no theme of the library explains.

HDBSCAN (R. Campello, D. Moulavi, J. Sander, PAKDD 2013) over cosine distances. Its distance matrix grows with the
square of the tickets, so at most `MOST_CLUSTERED` take part, those whose ids hash lowest, the same ones whenever the
cycle is computed; the others join the group they are near to. A theme with few tickets among very many unknown ones can
so be missed in one cycle; it is found once the larger ones are in the library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flywheel_pipelines.learning.themes.vectors import similarities, sums_by, unit_length

MOST_CLUSTERED = 3_000
"""Tickets in one distance matrix: 72 MB, and about two copies of it."""
SAME_GROUP = 0.6
"""Cosine of two centres above which two groups are one: HDBSCAN parts what has two ways of being said."""
NEAR_ENOUGH = 0.1
"""Quantile of a group's own similarities that a ticket outside the sample must reach to join it."""


@dataclass(frozen=True)
class Group:
    """Tickets that belong together: their indices, those of its core (which HDBSCAN chose), and their coherence."""

    members: np.ndarray
    core: np.ndarray
    coherence: float
    """Mean cosine of a core ticket with the centre of the others."""


def rank_of(ticket_id: str) -> str:
    """A place in an order that has nothing to do with time or content, and never changes."""
    return hashlib.blake2b(ticket_id.encode(), digest_size=8).hexdigest()


def cluster(rows: Any, ticket_ids: Sequence[str], *, min_tickets: int, min_coherence: float) -> list[Group]:
    """The groups among tickets, the largest first; tickets in none of them are left out.

    Args:
        rows: vectors of unit length.
        ticket_ids: of the rows.
        min_tickets: fewest core tickets of a group.
        min_coherence: groups whose tickets have less in common are dropped.
    """
    if len(ticket_ids) < max(min_tickets, 2):
        return []
    order = sorted(range(len(ticket_ids)), key=lambda at: rank_of(ticket_ids[at]))
    chosen = np.array(order[:MOST_CLUSTERED])
    labels = _joined(rows[chosen], _hdbscan(rows[chosen], min_tickets))
    cores = [chosen[labels == label] for label in range(labels.max() + 1)]
    scored = [(core, _own_similarities(rows[core])) for core in cores]
    kept = [(core, own) for core, own in scored if len(core) >= min_tickets and own.mean() >= min_coherence]
    if not kept:
        return []
    groups = _with_others(rows, kept)
    return sorted(groups, key=lambda group: (-len(group.members), ticket_ids[group.members[0]]))


def coherence_of(rows: Any) -> float:
    """Mean cosine of each row with the centre of the others; 0 for fewer than two rows."""
    return float(_own_similarities(rows).mean()) if rows.shape[0] > 1 else 0.0


def _hdbscan(rows: Any, min_tickets: int) -> np.ndarray:
    from sklearn.cluster import HDBSCAN

    distances = np.clip(1 - similarities(rows, rows), 0, None)
    np.fill_diagonal(distances, 0)
    size = min(min_tickets, len(distances) // 2) or 2
    settings: dict[str, Any] = {"metric": "precomputed", "cluster_selection_method": "leaf", "copy": False}
    finder = HDBSCAN(min_cluster_size=max(size, 2), min_samples=2, **settings)
    return finder.fit(distances).labels_


def _joined(rows: Any, labels: np.ndarray) -> np.ndarray:
    """Labels with groups of one centre made one, and renumbered; -1 stays."""
    from scipy.sparse.csgraph import connected_components

    n = int(labels.max()) + 1
    if n < 2:
        return labels
    inside = labels >= 0
    centres = unit_length(sums_by(rows[inside], labels[inside], n))
    _, parts = connected_components(similarities(centres, centres) >= SAME_GROUP, directed=False)
    return np.where(inside, parts[labels], -1)


def _own_similarities(rows: Any) -> np.ndarray:
    """Cosine of each row with the centre of the others."""
    total = np.asarray(rows.sum(axis=0)).reshape(1, -1)
    with_all = np.asarray(rows @ total.T).ravel()
    length = float(np.sqrt((total**2).sum()))
    left = np.sqrt(np.maximum(length**2 - 2 * with_all + 1, 1e-12))
    return np.where(left > 1e-5, (with_all - 1) / left, 0.0)


def _with_others(rows: Any, kept: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Group]:
    """Each group with the tickets outside of all cores that are as near to its centre as its own are."""
    cores = np.concatenate([core for core, _ in kept])
    labels = np.concatenate([np.full(len(core), number) for number, (core, _) in enumerate(kept)])
    centres = unit_length(sums_by(rows[cores], labels, len(kept)))
    levels = np.array([np.quantile(own, NEAR_ENOUGH) for _, own in kept])
    others = np.setdiff1d(np.arange(rows.shape[0]), cores)
    against = similarities(rows[others], centres)
    nearest = against.argmax(axis=1)
    near = against[np.arange(len(others)), nearest] >= levels[nearest]
    return [
        Group(np.sort(np.concatenate([core, others[near & (nearest == number)]])), np.sort(core), float(own.mean()))
        for number, (core, own) in enumerate(kept)
    ]
