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
# # What it costs
#
# How fast training and ranking are decides how many seeds, epochs and rivals a book can afford. This page shows what
# the scripts in `benchmarks/` measured; it measures nothing itself. Four sides take turns on one machine, each in a
# process of its own:
#
# - **this code**, whose training step is one gather, one normalisation, one gradient for the item table, and scores
#   that are worked on block by block while they are in the processor's cache;
# - **before**: commit `ab08813`, the last one before it was written this way;
# - **products alone**: the matrix products of our own step, in the same shapes and types, and nothing else: what the
#   arithmetic itself takes;
# - **RecBole**'s SASRec, version 1.2.1, in an environment of its own.
#
# The data are the paper's Food-Kitchen files (64,093 items), the sizes the paper's: vectors of 256, random features of
# 512 where pictures or texts would stand, 256 sequences a step.

# %% tags=["parameters"]
folder = ""  # of training.json and ranking.json

# %%
from IPython.display import Markdown

from ifcdsr_core.book import figures, markup
from ifcdsr_core.book.pages import costs

training = costs.measured("training", folder)
ranking = costs.measured("ranking", folder)
Markdown(costs.machine(training))

# %% [markdown]
# ## Training
#
# Sequences a second. The *exact* loss compares every position with all items; the *sampled* one with the step's targets
# and 8,192 others. Both see the same sequences. After as many steps they are at the same loss, up to rounding
# (`data/results/benchmarks/training.json` has that of the last step; what is faster may make more steps in a round).

# %% mystnb={"markdown_format": "myst"}
markup.show(
    costs.speeds(training),
    "Training in float32: sequences a second by this code (± half the range of its rounds) and before. Gain: times "
    "before. Cost: times as long as the products alone. GiB: peak memory of the process.",
    "tab-cost-training",
)

# %% [markdown]
# ## Ranking
#
# Test cases a second, under two protocols at once: among all items of the target's domain, and against 999 negatives.
# (A third, against 999 unseen items, has come since.) Drawing the negatives is part of every round of the code before;
# this code draws them once a process.

# %% mystnb={"markdown_format": "myst"}
markup.show(costs.speeds(ranking), "Ranking: test cases a second; columns as in the table above.", "tab-cost-ranking")

# %%
figures.save_figure(costs.bars(training, ranking), "07_speed")

# %%
Markdown(costs.verdict(training, ranking))

# %% [markdown]
# ## Training in bfloat16
#
# `precision="bfloat16"` computes products in bfloat16, and sums and gradients in float32. Where a processor has no
# instructions for it, it means float32 products here: imitated ones take many times as long. The provenance of a run
# tells which it had (`products`). Ranking is always in float32. Where this was measured on another machine than the
# tables above, only ratios can be compared.

# %%
Markdown(costs.machine(training, "bfloat16"))

# %% mystnb={"markdown_format": "myst"}
markup.show(
    costs.speeds(training, "bfloat16"), "Training in bfloat16; columns as in the table in float32.", "tab-cost-bfloat16"
)

# %%
Markdown(costs.verdict_bfloat16(training))

# %% [markdown]
# What else a step takes does not become faster in bfloat16: dropout's random numbers, a gradient as large as the item
# table, attention, and in GRUs the steps that wait for each other. With the sampled loss that is more than what the
# products take.
#
# ## Beside a peer
#
# SASRec in both. RecBole makes a sample of every prefix of a sequence, pads each to 50 items, and switches on torch's
# search for NaN in the backward pass when its sequential models are imported; *relieved* is without
# the last two. In ranking it scores the items of both domains and keeps the ten best; here those of the target's domain
# are scored, and the exact rank is found under two protocols.

# %% mystnb={"markdown_format": "myst"}
markup.show(costs.peer(training, ranking), "SASRec: sequences trained and cases ranked a second.", "tab-cost-peer")

# %% [markdown]
# ## From raw files to features

# %% mystnb={"markdown_format": "myst"}
markup.show(
    costs.other_steps(),
    "The re-partition beside a plain version in pandas, and the pictures beside plain loops. A dash: not run at this "
    "size.",
    "tab-cost-steps",
)

# %% [markdown]
# These three were measured earlier, on other machines: the ratios hold side by side, the speeds are of their day. To
# measure on your own machine:
#
# ```bash
# python benchmarks/training.py --peer --out mine/training.json
# python benchmarks/ranking.py  --peer --out mine/ranking.json
# cd notebooks && papermill 07_what_it_costs.ipynb output/mine.ipynb -p folder ../mine
# ```
#
# With `--device cuda --sides floor ours` the first script measures this code and its products on a GPU. That has not
# been done for this page.
