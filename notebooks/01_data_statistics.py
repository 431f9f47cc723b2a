# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: all,-papermill,-execution,-trusted
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version,-papermill
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The data
#
# What does a model of this book get to see? Users with a history in two domains, cut into short sequences; the last
# item of each is the *target*, the one to be predicted. This page counts: items, sequences, lengths, popularity, and
# how many users the two domains share. It then turns to the paper's own files, sets their numbers beside those the
# paper prints, and finds that much of their order in time is undefined.

# %% tags=["parameters"]
source = "demo"  # demo, c2dsr, llmcdsr, abxi or amazon
scenarios = "food_kitchen,movie_book"  # one or more that the source has; abxi has beauty_electronics, too
train_file = False  # c2dsr only: also read the file of training sequences
train = "published"  # c2dsr only: rebuilt, its train split made of other files
train_users = "all"  # llmcdsr only: both, its train split of the users of both domains alone

# %%
import numpy as np
import pandas as pd

from ifcdsr_core.analysis import counts
from ifcdsr_core.book import figures, markup, parameters
from ifcdsr_core.book.pages import data_statistics
from ifcdsr_core.sources import prepare

names = parameters.parse_scenarios(scenarios, source)
options = parameters.source_options(source, train_file=train_file, train=train, train_users=train_users)
worlds = [prepare(source, name, **options) for name in names]
numbers = {markup.data_title(source, world.name): counts.read_tables(counts.summary_record(world)) for world in worlds}

# %% [markdown]
# ## Sequences and items
#
# A sequence counts as one of the domain its target belongs to. Training uses all positions of a sequence, so its
# sequences are counted for both domains together: the number is the same in both rows of a scenario. A dash stands for
# a split that this source does not have. The demo has more sequences to test on than to train on: most of its test
# users come late and have one sequence each, so that tests are less noisy while training stays small.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    data_statistics.data_table(numbers, "table1"),
    "Items and sequences of the data chosen on this page, counted as in Table 1 of the paper.",
    "tab-data",
)

# %% [markdown]
# Nothing about these counts is hidden: a scenario is two tables, its items and its sequences, and a few lines of pandas
# give the row of the first domain again.

# %% mystnb={"markdown_format": "myst"}
world, split = worlds[0], worlds[0].sequences["split"]
of_x = split[world.sequences["target_domain"] == "x"].value_counts()
by_hand = {"items": (world.items["domain"] == "x").sum()}
by_hand["train"] = (split == "train").sum() or np.nan
by_hand |= {"valid": of_x.get("valid", 0), "test": of_x.get("test", 0)}
by_hand["avg_length"] = world.sequences["items"].map(len).mean()
of_package = counts.table1(world)[list(by_hand)].to_dict("records")[0]
rows = pd.DataFrame([by_hand, of_package], index=["by hand", "counts.table1"])
print("The two rows are equal:", rows.iloc[0].equals(rows.iloc[1]))
caption = f"{world.domain_names[0]}: its row of Table 1 counted twice."
markup.show(rows.rename_axis("Counted"), caption, "tab-by-hand")

# %% [markdown]
# Sequences are short. The next figure shows how their lengths, the target included, are distributed in each split.
# Splits that look alike are a good sign: a model is then tested on what it was trained for.

# %% mystnb={"figure": {"caption": "Lengths of the sequences, target included, as a share of each split.", "name": "fig-lengths"}}
figures.save_figure(data_statistics.lengths(numbers), "01_lengths")

# %% mystnb={"markdown_format": "myst"}
markup.show(
    data_statistics.data_table(numbers, "lengths"), "Lengths of the sequences in items, target included.", "tab-lengths"
)

# %% [markdown]
# ## Popularity
#
# A few items collect many interactions, most collect few. On logarithmic axes such a *long tail* falls roughly along a
# line, as in the paper's data below; the demo's is flatter and ends abruptly. Counted are all splits; in the demo most
# sequences are held out, so that its counts describe that world rather than what a model learns from. For an item that
# is rare in training a model has hardly anything to learn an ID from, which is where pictures could help. The Gini
# coefficient measures the inequality: 0 if all items are equally popular, 1 if one item has everything. Where sequences
# of a user overlap, an interaction counts once for each: up to three times in the files of ABXI, where a user's
# sequence in one split is the beginning of that in the next.

# %% mystnb={"figure": {"caption": "Interactions of an item against its rank by popularity within its domain, over all splits; both axes are logarithmic.", "name": "fig-popularity"}}
figures.save_figure(data_statistics.popularity(numbers), "01_popularity")

# %% mystnb={"markdown_format": "myst"}
markup.show(
    data_statistics.data_table(numbers, "concentration"),
    "How unequal popularity is, over all splits: items nobody touched, Gini "
    "coefficient, share of the interactions that the most popular fifth of "
    "the items has, interactions of the most popular item.",
    "tab-concentration",
)

# %% [markdown]
# ## The paper's own data
#
# The paper takes its numbers of items and sequences from the files of C2DSR {cite:p}`c2dsr`, to the digit. These files
# are public, except that the one with the training sequences is not always available. The counts below were made with
# the functions of this page and are shipped with the book, so that they show on a machine without the files. Running
# this notebook with `source` set to `c2dsr` counts anew.

# %%
published = data_statistics.of_paper(names)
paper = {title: {**shipped, **numbers.get(title, {})} for title, shipped in published.items()}

# %% mystnb={"markdown_format": "myst"}
markup.show(
    data_statistics.against_paper(paper),
    "Table 1 of the paper: our count of its files, the printed number, and the difference.",
    "tab-table1",
)

# %% [markdown]
# Where the table shows a dash or a difference, this is what the files themselves say. The three files number their
# sequences jointly, so the numbers that the files at hand leave out belong to the missing one; and the printed average
# tells what the average of its sequences has to be.

# %%
data_statistics.paper_remarks(paper)

# %% mystnb={"figure": {"caption": "The paper's data: lengths of the sequences, target included, as a share of each split.", "name": "fig-lengths-paper"}}
figures.save_figure(data_statistics.lengths(paper), "01_lengths_paper")

# %% mystnb={"figure": {"caption": "The paper's data: interactions of an item against its rank by popularity, over the splits at hand.", "name": "fig-popularity-paper"}}
figures.save_figure(data_statistics.popularity(paper), "01_popularity_paper")

# %% [markdown]
# ## The training file, rebuilt
#
# What the missing file of Food-Kitchen was cut from is public elsewhere: histories of many of its users in the files of
# ABXI {cite:p}`abxi`, made from the same ratings, and an earlier validation file of C2DSR's. Both are joined by the ids
# of users and items at Amazon. Of each user, what is earlier than everything held out of that user is cut by the rule
# that gives the released sequences back ({doc}`01b_raw_files`). A test goes through every interaction: none has the day
# of a held-out one of its user, or a later one. The option is `train=rebuilt`; validation and test stay the paper's.

# %% mystnb={"markdown_format": "myst"}
rebuilt = data_statistics.of_rebuilt(numbers)
markup.show(
    data_statistics.training_file(rebuilt),
    "Food-Kitchen's training file, rebuilt, beside what is known of the paper's, and what is held out. Users of an "
    "item: how many have it, over all splits, in the median over interactions. Years are those of the targets.",
    "tab-training-file",
)

# %%
data_statistics.training_file_remarks(rebuilt)

# %% [markdown]
# ## Every published data set
#
# Table 1 of all published data that this book reads, and of each way to train on them: the paper's without its training
# file and with a rebuilt one, LLMCDSR's with all training users or those of both domains alone, ABXI's. The counts are
# shipped; this notebook makes each anew with `source`, `scenarios`, `train` and `train_users` set.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    data_statistics.data_table(data_statistics.of_all(), "table1"),
    "Items and sequences of all published data, counted as in Table 1 of the paper.",
    "tab-all-data",
)

# %% [markdown]
# ## Overlap
#
# Cross-domain models live on users whom both domains know. It is the preparation of the data that decides how many
# there are. Keeping only sequences with at least three items of each domain makes every user a shared one, by
# construction. The files of LLMCDSR {cite:p}`llmcdsr` come from the same shops but keep users of a single domain, too;
# they are shown for contrast.

# %% mystnb={"figure": {"caption": "Users by the domains they have interactions in, for each split.", "name": "fig-overlap"}}
contrast = data_statistics.statistics_of("llmcdsr", ["food_kitchen"])
figures.save_figure(data_statistics.overlap({**numbers, **paper, **contrast}), "01_overlap")

# %% [markdown]
# ## How much of the order is real?
#
# A sequential model learns from order, but a review only carries its *day*. Two items of the same day have no order in
# the data, whatever order a file lists them in. Three consequences, each counted below:
#
# - **tied neighbours**: consecutive items of a sequence with the same day, which could as well stand the other way
# round;
# - **tied targets**: the target has the day of the item before it, so that another order makes another item the target;
# - **open domains**: the last day holds items of both domains, so that even the *domain* of the target is a convention.
#
# The last kind matters most here, because every result is reported by the target's domain. Sorted by time and otherwise
# left as they stand, the paper's files give the targets that {numref}`tab-table1` compares with the printed ones; the
# two columns on the right say what the number of targets in X could be if ties were broken differently.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    data_statistics.data_table({**numbers, **paper}, "order_ties"),
    "Order left open by equal times, and the number of targets in X under the order at hand and under other ones.",
    "tab-order-ties",
)

# %% mystnb={"figure": {"caption": "Shares of the test split whose order is undefined because times have the resolution of a day.", "name": "fig-order-ties"}}
figures.save_figure(data_statistics.order_ties({**numbers, **paper}), "01_order_ties")

# %% [markdown]
# ## Targets that training never shows
#
# A model that knows items by their ID alone can't recommend one it has never seen. The table counts targets that occur
# nowhere in the split named first: the training split, or the validation split, which stands in for it where the
# training file is missing. Such cases are lost to any model with IDs alone. Runs on the validation split keep a tenth
# of it for selection, so that for them the share is a little larger. The paper's Food-Kitchen is trained on a rebuilt
# file instead, which lacks more of the targets ({doc}`05d_where_it_helps`).

# %% mystnb={"markdown_format": "myst"}
markup.show(
    data_statistics.data_table({**numbers, **paper}, "unseen_targets"),
    "Targets that occur nowhere in the split named first.",
    "tab-unseen",
)
