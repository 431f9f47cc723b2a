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
# # Training a model
#
# One run from beginning to end: a configuration, the training with its curves, and the test. The test is made once,
# with the weights of the epoch that was best on the validation split. A run that was made before with the same
# configuration, code and data is found again instead of being repeated.

# %% tags=["parameters"]
scenario = "food_kitchen"  # or movie_book; beauty_electronics of abxi
source = "demo"  # or c2dsr, llmcdsr, abxi, amazon
model = "ifcdsr"  # or llm_emf, sasrec, gru4rec ...
seed = 0
epochs = 0  # the most epochs to train; 0: the book's number
train_on = ""  # train or valid; empty: the book's choice for this source
image_fusion = True  # ifcdsr and llm_emf: use the image vectors
text_fusion = True  # llm_emf only: use the text vectors
multiple_attention = True  # ifcdsr, llm_emf: an attention for each domain
visual_signal = 1.0  # demo only, 0 to 1: how much pictures explain
text_signal = 0.625  # demo only, 0 to 1: how much themes explain
cross_domain_signal = 1.0  # demo only, 0 to 1: how many tastes carry over

# %%
import numpy as np
import pandas as pd

from ifcdsr_core.book import figures, markup, parameters
from ifcdsr_core.book.pages import training
from ifcdsr_core.runs.run import run
from ifcdsr_core.sources import prepare

config = parameters.run_config(
    scenario,
    source,
    model,
    seed,
    epochs,
    train_on,
    image_fusion=image_fusion,
    text_fusion=text_fusion,
    multiple_attention=multiple_attention,
    visual_signal=visual_signal,
    text_signal=text_signal,
    cross_domain_signal=cross_domain_signal,
)
world = prepare(source, scenario, **config.source_options)
title = markup.data_title(source, scenario)

# %%
finished = run(config)

# %% [markdown]
# ## Configuration
#
# Everything that decides the numbers below. Parameters of this notebook that the chosen source or model does not have
# are left out. The run's folder holds the same table, and more about how the run was made.

# %% mystnb={"markdown_format": "myst"} tags=["hide-output"]
markup.show(
    training.run_settings(finished),
    f"{title}: settings of this run and what it was made of.",
    f"tab-settings-{source}-{scenario}",
)

# %% [markdown]
# ## Curves
#
# The loss says how surprised the model is by the next item of its training sequences; it falls as long as training goes
# on. The validation MRR, on sequences not trained on, says when to stop: the dotted line marks the epoch whose weights
# were kept. It is the same epoch for both domains, the one with the best mean of the two.

# %% mystnb={"figure": {"caption": "Training loss and validation MRR by epoch. The dotted line marks the epoch that was kept."}}
fig = training.curves(finished, world.domain_names, title)
figures.save_figure(fig, f"03_{source}_{scenario}_{model}_training")

# %% [markdown]
# ## Test
#
# For every test sequence the model ranks candidates, among them the right item. *MRR* is the mean of 1 / rank. *HR@k*
# is the share of cases with the right item among the first k; *NDCG@k* is the same with less credit for lower places.
# Candidates are all items of the target's domain; or, as in the work the paper compares with, the right item and 999
# random others; or the right item and 999 that the user has nowhere in the data (*unseen*). The last two tasks are
# easier wherever the domain has more than a thousand items, so these kinds of numbers must not be mixed.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    training.run_metrics(finished, world.domain_names),
    f"{title}: test metrics of {markup.model_name(model)}, seed {seed}, in percent.",
    f"tab-metrics-{source}-{scenario}",
)

# %% [markdown]
# All of this follows from one number per test case and protocol, the rank of its target. The run's folder keeps the
# ranks in `ranks.parquet`, and a few lines of pandas make two of the metrics from them again, here against 999
# negatives.

# %% mystnb={"markdown_format": "myst"}
ranks = pd.read_parquet(finished.folder / "ranks.parquet")
rank, keys = ranks["sampled_999"], ["MRR", "NDCG@10"]
ndcg = (1 / np.log2(1 + rank)).where(rank <= 10, 0)
per_case = pd.DataFrame({"MRR": 1 / rank, "NDCG@10": ndcg})
by_hand = per_case.groupby(ranks["target_domain"]).mean()
metrics = finished.metrics.query("protocol == 'sampled_999'")
of_run = metrics.set_index("domain")[keys]
print("Both are equal:", np.allclose(by_hand, of_run, rtol=1e-12, atol=0))
both = by_hand.add_suffix(", by hand").join(of_run.add_suffix(", run.metrics"))
caption = f"{title}: two metrics in percent, computed twice."
markup.show(100 * both.rename_axis("Target"), caption, f"tab-by-hand-{source}-{scenario}")

# %% [markdown]
# A mean hides how ranks are spread. The next figure shows, for every k, how many targets are among the first k; the
# dotted lines show what a random order would reach.

# %% mystnb={"figure": {"caption": "Share of the test cases whose target is among the first k, against 999 negatives and against all items of the domain. Dotted: candidates in random order."}}
fig = training.ranks(finished.ranks, world.domain_names, (world.num_items_x, world.num_items_y), title)
figures.save_figure(fig, f"03_{source}_{scenario}_{model}_ranks")

# %% tags=["summary"]
print(training.run_summary(finished, world.domain_names))
