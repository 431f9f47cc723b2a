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
# # What the model looks at
#
# IFCDSR reads a history six times: the items of each domain and all of them together, each time by ID and by image.
# This page opens one trained model and asks three things. Where does each of the six encoders look? What would each of
# them recommend, if it were alone? And which of them makes the result?
#
# It needs pictures and a world whose rules are known, so it is about the demo, and about one trained model: another
# seed gives another one.

# %% tags=["parameters"]
scenario = "food_kitchen"  # or movie_book
source = "demo"  # no other source has pictures
seed = 0
users = 1  # examples of each domain at each place
epochs = 0  # the most epochs to train; 0: the book's number

# %%
import pandas as pd
from IPython.display import Markdown

from ifcdsr_core.analysis import inspection
from ifcdsr_core.book import figures, markup, parameters
from ifcdsr_core.book.pages import attention
from ifcdsr_core.runs.assembly import restore
from ifcdsr_core.runs.run import run

config = parameters.run_config(scenario, inspection.pictured(source), "ifcdsr", seed, epochs)
finished = run(config)
model, world, cases = restore(finished)
title = markup.data_title(source, scenario)

# %% [markdown]
# ## Whom to look at
#
# Examples can be picked to show anything. These are drawn by a rule. The test cases of a domain are put in the order of
# the rank that the model gives to the item bought next, among all items of that domain. One group are the cases of rank
# 1, another the middle fifth, the last the fifth with the worst ranks. From each group a seeded draw takes as many as
# the parameter `users` says.

# %% mystnb={"markdown_format": "myst"}
chosen = inspection.examples(finished.ranks, users)
markup.show(
    attention.examples_table(chosen, world),
    f"{title}: cases drawn, what was bought next, and the rank of that.",
    f"tab-examples-{scenario}",
)

# %% [markdown]
# Each case is shown twice. The first figure has the history, and under each picture the **attention**, in percent, that
# an encoder pays to that item when it sums up what it has read; each row adds up to 100. A cell is empty where the
# encoder does not see the item. The second figure has the ten items that each encoder would **recommend** if it alone
# decided, the two of the target's own domain first, and last what all six together recommend. An encoder that has read
# Kitchen can rank foods, because the vectors of both domains lie in one space; whether it does so well is another
# question. The items already in the history stay in the race for all.
#
# One caution. Attention says where an encoder *looks*, not what decides. The newest item enters the sum by a second way
# as well, which goes round the attention, and an item looked at hard may still change nothing.

# %%
views = attention.views(model, world, cases["test"], chosen)
first, middle, last = (views[place] for place in inspection.PLACES)

# %% [markdown]
# ### Ranked first

# %% mystnb={"figure": {"caption": "Cases with the target ranked first: history, oldest item at the left, and the attention of each encoder in percent. Frames have the colour of the domain.", "name": "fig-attention-first"}}
figures.save_figure(attention.attention_views(world, first), f"05e_{scenario}_first_attention")

# %% mystnb={"figure": {"caption": "The same cases: what each encoder alone, and all together, would recommend, best first; beside its name, the rank it gives to the target. Black frame: the target. Dotted: already in the history.", "name": "fig-top-first"}}
figures.save_figure(attention.top_views(world, first), f"05e_{scenario}_first_top")

# %% [markdown]
# ### In the middle

# %% mystnb={"figure": {"caption": "Cases from the middle of the ranks: history and attention in percent.", "name": "fig-attention-middle"}}
figures.save_figure(attention.attention_views(world, middle), f"05e_{scenario}_middle_attention")

# %% mystnb={"figure": {"caption": "The same cases: what each encoder alone, and all together, would recommend. Black frame: the target. Dotted: already in the history.", "name": "fig-top-middle"}}
figures.save_figure(attention.top_views(world, middle), f"05e_{scenario}_middle_top")

# %% [markdown]
# ### Far down

# %% mystnb={"figure": {"caption": "Cases whose target is ranked far down: history and attention in percent.", "name": "fig-attention-last"}}
figures.save_figure(attention.attention_views(world, last), f"05e_{scenario}_last_attention")

# %% mystnb={"figure": {"caption": "The same cases: what each encoder alone, and all together, would recommend. Black frame: the target. Dotted: already in the history.", "name": "fig-top-last"}}
figures.save_figure(attention.top_views(world, last), f"05e_{scenario}_last_top")

# %% [markdown]
# ## All test cases: how far back?
#
# A few cases are stories. From here on, all test cases count. First: how much attention goes to the newest item an
# encoder sees, to the one before it, and so on? The dotted line is the even share, 1 divided by the length of what it
# reads, averaged over the same cases; it falls because only long histories reach far back. A curve on the dotted line
# says that on average newer items get no more attention than older ones. Distances that fewer than 30 cases reach are
# left out.

# %%
looks = inspection.attention(model, cases["test"])
words = attention.encoder_names(model, world.domain_names)
lags = inspection.by_lag(looks, min_cases=30)

# %% mystnb={"figure": {"caption": "Attention by distance from the newest item that an encoder sees, mean over the test cases, and the even share of the same cases.", "name": "fig-attention-lag"}}
figures.save_figure(attention.attention_by_lag(lags, words), f"05e_{scenario}_lag")

# %%
Markdown(attention.lag_verdict(lags, words))

# %% [markdown]
# ## All test cases: what does attention follow?
#
# In the demo every item has a colour, a pattern and a kind, which its picture shows, and a theme and a stage, which it
# doesn't. If an encoder looks for one of these, items that share it should get more attention than others. Share it
# with what? Two answers.
#
# - **With the target.** A reader who knows the end of the story would look at the items that point to it. The model
#   does not know it, so a ratio above 1 would mean that it can tell which items are telling.
# - **With the newest item**, the one that asks. Attention compares it with each earlier item, so this is what the
#   mechanism can do most directly. The newest item itself is left out of the count.
#
# The figure shows the attention on sharing items as a multiple of what is expected. Hollow: expected is their share of
# the history. That can mislead, since position matters, too: kinds follow one another in a cycle, so the kind that
# comes next is rarely that of the last few items. Filled: expected is what the same positions of equally long histories
# usually get from that encoder. At 1 the attribute plays no part.
#
# Expected of image encoders would be ratios away from 1 for what pictures show, and at 1 for theme and stage, of
# which they know nothing; a clear ratio there would be a sign of a mistake in the demo or in the count. An ID encoder
# could have learned any of the five.

# %%
target = cases["test"].target_item.numpy()
shared = pd.concat(
    [inspection.sharing(looks, world.items, target, reference) for reference in ("target", "newest")], ignore_index=True
)

# %% mystnb={"figure": {"caption": "Attention on items that share an attribute with the target (above) or with the newest item (below), as a multiple of what is expected, with 95 % bootstrap intervals over test cases.", "name": "fig-attention-sharing"}}
figures.save_figure(attention.attention_sharing(shared, words), f"05e_{scenario}_sharing")

# %% [markdown]
# In words, for the filled points; "beyond chance" is a paired permutation test of the attention found against that
# expected, with Holm's correction for all of them.

# %%
Markdown(attention.sharing_verdict(shared, words))

# %% [markdown]
# ## Who carries the result?
#
# The model's answer is a mixture of six opinions. Here each of them, and several mixtures of some, rank the same
# candidates for themselves. *Own* is the branch of the target's domain, *source* that of the other domain. Nothing is
# trained again: parts are left out of {eq}`eq-mixture`, with all weights as they are. That is not the same question as
# that of {doc}`05_ablation`, where a model without a part learns to do without it. In particular, an ID encoder trained
# beside an image encoder may leave to it what it could have learned itself.
#
# If fusion paid in every part, the whole would be better than each part, and every leaving out would cost something. A
# part that is as good as the whole says that the others add nothing to this model. In the demo much of that is planted:
# tastes for what pictures show are stronger than those for what they don't, and most items are too new to have been
# bought often.

# %%
ranks = inspection.scorer_ranks(model, cases["test"], config.candidate_seed)
scored = inspection.scorer_table(ranks, world.domain_names)

# %% mystnb={"figure": {"caption": "MRR against 999 negatives of each encoder alone, of each branch, of each modality, of all but one branch, and of the whole model (dotted line), with 95 % bootstrap intervals over test cases. Two intervals that overlap can still differ beyond chance, since all rank the same cases: see the table.", "name": "fig-scorers"}}
figures.save_figure(attention.scorers_figure(scored), f"05e_{scenario}_scorers")

# %% mystnb={"markdown_format": "myst"}
markup.show(
    attention.scorer_page(scored),
    f"{title}: MRR against 999 negatives of parts of the model, "
    "in percent, and the difference from the whole, in points, "
    "with its 95 % bootstrap interval over test cases.",
    f"tab-scorers-{scenario}",
)

# %% [markdown]
# In words. "Beyond chance" is a paired permutation test, with Holm's correction for all the differences in the table.

# %%
Markdown(attention.scorer_verdict(scored))
