"""Which modality helps where: ID, image and text against each other, over the runs of ``experiments.modalities``.

Gains are in points of MRR, each over the ID alone, paired by seed and by test case (``comparisons.gains``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ifcdsr_core.comparisons import gains, of_seeds, over_seeds, signed
from ifcdsr_core.page import escape, first_columns
from ifcdsr_core.run import Run
from ifcdsr_core.subgroups import PROPERTY_NAMES, gain_by_group

BASE = "ID"
HAS_TITLE = {"0": "without a title", "1": "with a title", "0–1": "with or without a title"}


def world_name(visual_signal: float, text_signal: float) -> str:
    """What explains behaviour in a world of the demo, such as "pictures and titles"."""
    parts = [what for what, signal in (("pictures", visual_signal), ("titles", text_signal)) if signal]
    return " and ".join(parts) or "neither"


def arm_gains(experiment: Mapping[str, Sequence[Run]], names: tuple[str, str]) -> pd.DataFrame:
    """What each arm adds to the ID alone: the columns of ``comparisons.gains``, with ``arm`` in front.

    An arm with fewer seeds is compared with the ID's runs of these.

    Raises:
        InputError: the ID has no run of a seed, or the runs differ in test cases.
    """
    parts = [
        gains(runs, of_seeds(experiment[BASE], runs), names).assign(arm=arm)
        for arm, runs in experiment.items()
        if arm != BASE
    ]
    return first_columns(pd.concat(parts, ignore_index=True), "arm")


def planted_table(
    worlds: Mapping[tuple[float, float], Mapping[str, Sequence[Run]]], names: tuple[str, str]
) -> pd.DataFrame:
    """MRR of every arm in worlds where pictures, titles, both or neither explain behaviour: a row a world and domain.

    Args:
        worlds: runs by (visual_signal, text_signal).
    """
    rows = []
    for dials, experiment in worlds.items():
        table = over_seeds(experiment, names, "sampled_999", ("MRR",)).pivot(
            index="Target", columns="Model", values="MRR"
        )
        rows += [
            {"Explained by": world_name(*dials), "Target": name} | table.loc[name, list(experiment)].to_dict()
            for name in names
        ]
    return pd.DataFrame(rows)


def planted_gains(
    worlds: Mapping[tuple[float, float], Mapping[str, Sequence[Run]]], names: tuple[str, str]
) -> pd.DataFrame:
    """``arm_gains`` of every world, with ``world`` in front."""
    parts = [arm_gains(experiment, names).assign(world=world_name(*dials)) for dials, experiment in worlds.items()]
    return first_columns(pd.concat(parts, ignore_index=True), "world")


def planted_verdict(table: pd.DataFrame) -> str:
    """What ``planted_gains`` says: which arms gain beyond noise in which world, and which lose, a sentence a world."""
    sentences = []
    for world, part in table.groupby("world", sort=False):
        told = []
        for verdict, word in (("a gain", "gain"), ("a loss", "lose"), ("within noise", "change nothing beyond noise")):
            found = [
                f"{escape(row.arm)} ({escape(row.domain)}, {signed(row.gain)} ± {row.noise:.2f})"
                for row in part[part["verdict"] == verdict].itertuples()
            ]
            if found:
                told.append(f"{'; '.join(found)} {word}")
        where = "neither pictures nor titles explain" if world == "neither" else f"{world} explain"
        sentences.append(f"- Where **{where}** behaviour: {'. '.join(told)}.")
    return "\n".join(sentences)


def by_title(table: pd.DataFrame, experiment: Mapping[str, Sequence[Run]], names: tuple[str, str]) -> pd.DataFrame:
    """What texts add to the ID alone for targets with and without a title, a row an arm, domain and group.

    Where a domain has too few of one group to tell it apart, both are one.

    Args:
        table: ``subgroups.load_properties``; it has to know ``titled``.

    Returns:
        ``Arm``, ``Target``, ``The target is``, ``Cases``, ``Gain`` in points, and its 95 % bootstrap interval over test
        cases, ``From`` and ``To``.
    """
    parts = []
    for arm, runs in experiment.items():
        for name, code in zip(names, "xy", strict=True) if arm != BASE else ():
            part = gain_by_group(table, runs, of_seeds(experiment[BASE], runs), "titled", domain=code)
            parts.append(
                pd.DataFrame(
                    {
                        "Arm": arm,
                        "Target": name,
                        "The target is": part["group"].map(HAS_TITLE).astype(str),
                        "Cases": part["cases"],
                        "Gain": part["gain"],
                        "From": part["low"],
                        "To": part["high"],
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def gain_panels(
    table: pd.DataFrame, experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], along: str
) -> dict[tuple[str, str], pd.DataFrame]:
    """``subgroups.gain_by_group`` of every arm over the ID alone, by the title of a panel and what its axis shows."""
    return {
        (f"{arm}: {name}", PROPERTY_NAMES[along]): gain_by_group(
            table, runs, of_seeds(experiment[BASE], runs), along, domain=code
        )
        for arm, runs in experiment.items()
        if arm != BASE
        for name, code in zip(names, "xy", strict=True)
    }


def modalities_verdict(table: pd.DataFrame) -> str:
    """What ``arm_gains`` says, in a sentence an arm."""
    sentences = []
    for arm, part in table.groupby("arm", sort=False):
        words = "; ".join(
            f"{escape(row.domain)} {signed(row.gain)} ± {row.noise:.2f}, {row.verdict}" for row in part.itertuples()
        )
        sentences.append(f"**{escape(arm)}** against the ID alone: {words}.")
    return " ".join(sentences)
