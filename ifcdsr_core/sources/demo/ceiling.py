"""The best possible answers on the demo: the true chance of every item as the next one, by the rules of ``world``.

Let theta be a user's taste in a domain: one wanted value of each of its attributes (colour, pattern, theme, maker), and
w_i the weight of item i by what does not depend on theta: popularity, and kind and stage after those of the last item;
0 if i is not out or was chosen before. The world multiplies the weight by 1 + g_a wherever attribute a of the item has
the wanted value, so that

    P(i | theta, history) = w_i prod_a (1 + g_a [a_i = theta_a]) / Z(theta),    Z(theta) = sum_i of the numerators.

- *Oracle* knows theta. No model can: the histories do not tell all of it.
- *Bayes* knows the catalogue, the rules and the history alone, as a model does that has learned all there is to learn.
  It averages over what the history leaves open. With X the target domain (swap the two for Y)

      P(i | history) = sum_theta P(theta | history) P(i | theta, history)
      P(theta | history) ~ L_X(theta) sum_eta K(theta, eta) L_Y(eta)
      K = prod_a (s [theta_a = eta_a] + (1 - s) / n_a)

  where L is the likelihood of the history in one domain, the product of the chances of its items; s the
  ``cross_domain_signal``, the chance that a wanted value is the same in both domains; n_a the number of values. Before
  the first item of a domain the wanted kind and stage are as likely to be any, and the chance is the mean over them.

All sums over theta or over items are one operation on a table with one axis per attribute, done axis by axis
(``_spread``): exact, and cheap. Attributes that play no part have no axis.

Bayes may do without a part of what it knows: ``pictures`` (it thinks that colour, pattern and kind play no part),
``titles`` (likewise theme and maker), ``other domain`` (it ignores the history there). What a part brings to Bayes is a
yardstick for what it brings to a model, and no limit: a model far below Bayes without it may gain more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources.demo.world import Attribute, Dials, Rules

VERSION = 1
PICTURES, TITLES, OTHER_DOMAIN = PARTS = ("pictures", "titles", "other domain")
_SHOWN_BY = {PICTURES: ("colour", "pattern", "kind"), TITLES: ("theme", "maker")}
_BLOCK = 2**23  # numbers of the largest table held at once


def oracle(scenario: Scenario, sequences: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The chances by who knows what the user wants; arguments and results as for ``bayes``."""
    for cases in _blocks(scenario, sequences, ()):
        rules = cases.rules[0]
        wanted = {name: sequences[f"liked_{name}"].to_numpy()[cases.rows] for name in rules.tastes}
        weights = rules.weights(cases.available, cases.expected | wanted)
        yield cases.rows, weights / weights.sum(axis=1, keepdims=True)


def bayes(
    scenario: Scenario, sequences: pd.DataFrame, without: Sequence[str] = ()
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The chances by who knows rules, catalogue and history.

    Args:
        scenario: of the demo.
        sequences: one of its splits.
        without: those of ``PARTS`` that it does without.

    Yields:
        A block of cases with the same target domain, and the chance of each item of it: rows of ``sequences`` (B,) and
        (B, N) float64.
    """
    signal = Dials(**scenario.provenance["options"]).cross_domain_signal
    for cases in _blocks(scenario, sequences, without):
        rules, other = cases.rules
        posterior = _likelihood(rules, cases.own, cases.start)
        if OTHER_DOMAIN not in without:
            posterior *= _carried(_likelihood(other, cases.other, cases.start), signal)
        posterior /= posterior.sum(axis=_axes(posterior), keepdims=True)
        weights = rules.weights(cases.available, cases.expected)
        share = posterior / _spread(_table(weights, rules.tastes), rules.tastes)  # posterior / Z, (B, *tastes)
        of_look = _spread(share, rules.tastes).reshape(len(weights), -1)
        yield cases.rows, weights * of_look[:, _cell(rules.tastes, weights.shape[1])]


# --- cases ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cases:
    """B cases with the same target domain; items are numbered from 0 within their domain, -1 where there is none.

    Attributes:
        rows: (B,) their rows in the split.
        rules: of the target's domain, and of the other one.
        own, other: (B, L) the history in the target's domain, and in the other one.
        start: (B,) the time of the first item, which decides what is out.
    """

    rows: np.ndarray
    rules: tuple[Rules, Rules]
    own: np.ndarray
    other: np.ndarray
    start: np.ndarray

    @property
    def available(self) -> np.ndarray:
        """Which items of the target's domain may come next, (B, N)."""
        free = self.rules[0].released <= self.start[:, None]
        case, position = np.nonzero(self.own >= 0)
        free[case, self.own[case, position]] = False
        return free

    @property
    def expected(self) -> dict[str, np.ndarray]:
        """The kind and the stage that follow those of the last item of the target's domain, (B,) each."""
        newest = self.own[np.arange(len(self.own)), (self.own >= 0).sum(axis=1) - 1]
        return {name: (course.values[newest] + 1) % course.size for name, course in self.rules[0].courses.items()}


def _blocks(scenario: Scenario, sequences: pd.DataFrame, without: Sequence[str]) -> Iterator[_Cases]:
    """The cases of a split by target domain, in blocks of similar time whose tables are not too large."""
    rules = [_assumed(Rules.of(scenario.items, d, Dials(**scenario.provenance["options"])), without) for d in "xy"]
    start = np.array([times[0] for times in sequences["timestamps"]])
    histories = [np.asarray(items[:-1], dtype=np.int64) for items in sequences["items"]]
    in_x = [items <= scenario.num_items_x for items in histories]
    parts = (
        _padded([items[inside] - 1 for items, inside in zip(histories, in_x, strict=True)]),
        _padded([items[~inside] - 1 - scenario.num_items_x for items, inside in zip(histories, in_x, strict=True)]),
    )
    size = max(1, _BLOCK // np.prod([taste.size for taste in rules[0].tastes.values()], dtype=np.int64))
    for own, other in ((0, 1), (1, 0)):
        rows = np.flatnonzero(sequences["target_domain"] == "xy"[own])
        rows = rows[np.argsort(start[rows], kind="stable")]
        for block in np.split(rows, range(size, len(rows), size)):
            yield _Cases(block, (rules[own], rules[other]), parts[own][block], parts[other][block], start[block])


def _assumed(rules: Rules, without: Sequence[str]) -> Rules:
    """The rules as one sees them who does without some parts; attributes that play no part are left out."""
    hidden = {name for part in without for name in _SHOWN_BY.get(part, ())}
    tastes, courses = (
        {name: attribute for name, attribute in kind.items() if attribute.gain and name not in hidden}
        for kind in (rules.tastes, rules.courses)
    )
    return Rules(rules.appeal, rules.released, tastes, courses)


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    """(B, L), -1 behind the end of a row."""
    length = np.array([len(row) for row in rows])
    padded = np.full((len(rows), length.max(initial=0)), -1)
    padded[np.arange(padded.shape[1]) < length[:, None]] = np.concatenate([np.zeros(0, np.int64), *rows])
    return padded


# --- likelihoods ------------------------------------------------------------------------------------------------------


def _likelihood(rules: Rules, history: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The likelihood of the history in one domain under every taste, but for a factor of each case, (B, *tastes)."""
    likelihood = np.ones((len(history), *(taste.size for taste in rules.tastes.values())))
    available = rules.released <= start[:, None]
    for step in range(history.shape[1]):
        rows = np.flatnonzero(history[:, step] >= 0)
        item, before = history[rows, step], history[rows, step - 1]
        if step == 0:
            factor = _first(rules, item, start[rows])
        else:
            wanted = {name: (course.values[before] + 1) % course.size for name, course in rules.courses.items()}
            factor = 1 / _spread(_table(rules.weights(available[rows], wanted), rules.tastes), rules.tastes)
        for axis, taste in enumerate(rules.tastes.values(), start=1):
            shape = [len(rows) if dim == 0 else taste.size if dim == axis else 1 for dim in range(factor.ndim)]
            factor *= taste.factors.T[item].reshape(shape)  # 1 + g_a [a_i = theta_a]
        likelihood[rows] *= factor / factor.max(axis=_axes(factor), keepdims=True)
        available[rows, item] = False
    return likelihood


def _first(rules: Rules, item: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Mean over the wanted kind and stage of (their part of the item's weight) / Z, up to a constant, (B, *tastes)."""
    mean = np.empty((len(item), *(taste.size for taste in rules.tastes.values())))
    attributes = rules.courses | rules.tastes
    for time in np.unique(start):  # of one time they have Z in common
        rows = np.flatnonzero(start == time)
        table = _table(rules.weights((rules.released <= time)[None], {}), attributes)
        of_item = _spread(1 / _spread(table, attributes), rules.courses)[0]  # (*courses, *tastes)
        mean[rows] = of_item[tuple(course.values[item[rows]] for course in rules.courses.values())]
    return mean


def _carried(likelihood: np.ndarray, signal: float) -> np.ndarray:
    """What the likelihood in one domain says of the taste in the other, sum_eta K(theta, eta) L(eta), (B, *tastes)."""
    for axis in _axes(likelihood):
        likelihood = signal * likelihood + (1 - signal) * likelihood.mean(axis=axis, keepdims=True)
    return likelihood


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(weights: np.ndarray, attributes: dict[str, Attribute]) -> np.ndarray:
    """Sums of the items' weights (B, N) by their values of all attributes, (B, *attributes)."""
    shape = tuple(attribute.size for attribute in attributes.values())
    cell = _cell(attributes, weights.shape[1])
    order = np.argsort(cell, kind="stable")
    cells, first = np.unique(cell[order], return_index=True)
    table = np.zeros((len(weights), np.prod(shape, dtype=np.int64)))
    table[:, cells] = np.add.reduceat(weights[:, order], first, axis=1)
    return table.reshape(len(weights), *shape)


def _cell(attributes: dict[str, Attribute], num_items: int) -> np.ndarray:
    """The place of each item's values in a flattened table, (N,)."""
    cell = np.zeros(num_items, dtype=np.int64)
    for attribute in attributes.values():
        cell = cell * attribute.size + attribute.values
    return cell


def _spread(table: np.ndarray, attributes: dict[str, Attribute]) -> np.ndarray:
    """Apply 1 + g_a [equal] along the axes of some attributes, the first behind that of the cases.

    Of a table of items' weights it makes Z for every combination of wanted values; of a table by wanted values, what an
    item of every combination of values gets from all of them.
    """
    for axis, attribute in enumerate(attributes.values(), start=1):
        table = attribute.gain * table + table.sum(axis=axis, keepdims=True)
    return table


def _axes(table: np.ndarray) -> tuple[int, ...]:
    """The axes of the attributes."""
    return tuple(range(1, table.ndim))
