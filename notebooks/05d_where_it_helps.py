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
# # Where does it help?
#
# That a score rises is one thing; that it rises for the reason given is another. The paper gives two reasons.
# *Pictures tell what IDs cannot*: an ID is as good as the interactions it was learned from, and most items have few.
# *Separate attention keeps the domains from drowning each other*: where most of a history is of one domain, the other
# is not heard. A reason is a prediction. It says not only that there is a gain, but for which test cases it is large.
# This page sorts the test cases by what is known about them without any model, and looks.
#
# The first part is about the demo, where there are pictures. The second is about the paper's own test sets: where do
# the models get their scores from, and why is counting so hard to beat on Movie-Book?

# %% tags=["parameters"]
source = "demo"  # of the runs made on this page; it needs pictures
scenarios = "food_kitchen,movie_book"  # one or both
seeds = "0,1,2,3,4"
epochs = 0  # the most epochs to train; 0: the book's number

# %%
from IPython.display import Markdown, display

from ifcdsr_core.analysis import paired, subgroups
from ifcdsr_core.book import figures, markup, parameters
from ifcdsr_core.book.pages import where_it_helps
from ifcdsr_core.runs import lists, sweep

names = parameters.parse_scenarios(scenarios, source)
seed_list = parameters.parse_seeds(seeds)
changes = {"epochs": epochs} if epochs else {}

# %% [markdown]
# ## The runs and the test cases
#
# Four configurations, each with several seeds: IFCDSR, IFCDSR without images, without multiple attention, and without
# both. They are runs of {doc}`05_ablation`: in its words the third is *+ image fusion* and the fourth the *original
# framework*. All rank the same test cases. A *gain* is the reciprocal rank that IFCDSR gives a case, less the one it
# gives without the part in question; both are averaged over seeds first. Means of it are differences in MRR, in
# percentage points.

# %%
planned = {name: lists.parts(name, seed_list, source, **changes) for name in names}
results = {name: sweep.run_all(arms) for name, arms in planned.items()}
cases = {name: subgroups.properties(arms[lists.FULL][0]) for name, arms in planned.items()}

# %% [markdown]
# ## Pictures, where IDs know little
#
# If the reason is right, the gain of images should *fall* with the number of times the target occurs in the training
# sequences, and be largest for targets that occur nowhere. And it should *rise* with how much the target's picture
# looks like the pictures of the history: a picture can only point to something that resembles what was bought before.
# Resemblance is the largest cosine between the target's image vector and those of the history. A curve that is level,
# or goes the other way, would speak against the reason, however large the gain is on average.
#
# In the figures each group of cases has its range and its size below it, and whiskers show 95 % intervals over cases.

# %% mystnb={"figure": {"caption": "Demo: MRR against 999 negatives with and without images, by how often the target occurs in training, and by how near its picture is to those of the history.", "name": "fig-where-mrr"}}
both = [lists.FULL, lists.NO_IMAGES]
panels = where_it_helps.mrr_panels(cases, results, both, ["popularity", "nearness"])
figures.save_figure(where_it_helps.mrr_figure(panels), "05d_images_mrr")

# %% mystnb={"figure": {"caption": "Demo: the gain of image fusion for the same groups of cases.", "name": "fig-where-images"}}
panels = where_it_helps.gain_panels(cases, results, lists.NO_IMAGES, ["popularity", "nearness"])
figures.save_figure(figures.gains_by_group(panels), "05d_images_gain")

# %% [markdown]
# One thing can mislead here. Cases whose target looks like the history are also cases where users follow their taste,
# and perhaps any better model gains more on them. So the tests below have a control: the gain of multiple attention
# between two models that see no pictures. It has no reason to follow the pictures.
#
# ## Multiple attention, where the own domain says little
#
# If separate attention keeps a large domain from drowning a small one, its gain should *fall* with the share of the
# target's domain in the history, and with the number of its items. And it should *rise* with the days since the last
# item of the target's domain: the longer ago, the more of the other domain a single attention has to look past. About
# the mere length of a history nothing is claimed.

# %% mystnb={"figure": {"caption": "Demo: the gain of multiple attention by four properties of a test case's history.", "name": "fig-where-attention"}}
panels = where_it_helps.gain_panels(cases, results, lists.NO_MULTIPLE, ["own_share", "own_history", "days", "history"])
figures.save_figure(figures.gains_by_group(panels), "05d_attention_gain")

# %% [markdown]
# ## Do the gains follow the claims?
#
# Groups can be cut in many ways, and some cut will always look good. The test below uses none. It ranks the cases by
# the property and by the gain, within each target domain, and takes the correlation ρ of the ranks: 1 if the gain
# always rises, −1 if it always falls, 0 if the two have nothing to do with each other. The p-value is that of a
# permutation test: in how many of 9,999 random orders of the gains is ρ as far from 0? Holm's correction makes up for
# the number of tests. A correlation of ranks can come from many tiny changes far down the list; therefore the table
# also gives the mean gain of the highest third of the cases less that of the lowest (*ends apart*, with its 95 %
# interval). Only where both point the same way is a trend called one. The sentences below the table also say for how
# many of the seeds, taken alone, ρ has the same sign.

# %% mystnb={"markdown_format": "myst"}
for name, runs in results.items():
    trends = subgroups.trends(cases[name], runs)
    caption = "whether the gain in MRR against 999 negatives rises or falls along a property."
    shown = trends.drop(columns=["Seeds", "Verdict"])
    display(markup.show(shown, f"{markup.data_title(source, name)}: {caption}", f"tab-trends-{name}"))
    display(Markdown(where_it_helps.trends_verdict(trends)))

# %% [markdown]
# No trend found is not the same as no trend: an interval that reaches from far below zero to far above leaves much
# open. And a trend on the demo says that the model *can* use pictures where IDs fail, in a world where users choose by
# looks. How much users of a real shop do so, it does not say.
#
# ## The paper's test sets: where scores come from
#
# For the paper's data there are no pictures here, and the data may not be passed on. What can be shown are the shipped
# runs, one row of numbers per test case, beside properties of the cases that name no user and no item. Popularity is
# counted in the sequences that the models were trained on, those of a rebuilt training file on Food-Kitchen and of the
# validation file on Movie-Book (see {doc}`04_comparison`).
#
# Two things to know before reading {numref}`fig-where-popularity`. The order by popularity is the very score of
# *Popularity*: that it climbs steeply here is not a finding but how it is made. And the axis of the MRR is logarithmic,
# since unseen targets and bestsellers differ in it by a factor of up to hundreds.

# %%
real = lists.shipped_comparisons("c2dsr")
real_cases = {name: subgroups.load_properties("c2dsr", name) for name in real}

# %% mystnb={"figure": {"caption": "The paper's test sets: MRR against 999 negatives of every model, by how often the target occurs in training, with the share of the test cases below each group. Dotted line: a random order of the candidates.", "name": "fig-where-popularity"}}
panels = where_it_helps.domain_panels(real_cases, real, "popularity")
chance = subgroups.random_mrr()
figures.save_figure(where_it_helps.models_figure(panels, chance), "05d_popularity")

# %% mystnb={"markdown_format": "myst"}
for name, runs in real.items():
    parts = where_it_helps.against_best(real_cases[name], runs)
    caption = (
        f"{markup.data_title('c2dsr', name)}: MRR in percent of "
        f"{paired.reference(runs)} and of the best other, by "
        "occurrences of the target in training. Share: of the "
        "cases, in percent. Part: what the group adds to the "
        "difference of both, in points."
    )
    display(markup.show(parts, caption, f"tab-parts-{name}"))
    display(Markdown(where_it_helps.popularity_verdict(real_cases[name], runs)))

# %% [markdown]
# How can a model be worse than a random order? A model that learned from IDs alone puts items it has never seen below
# those it has, and for a good reason: most of them stay unsold. But where such an item is the target, it stands behind
# nearly all negatives that were seen. The share of unseen targets is therefore a share of the cases that no model with
# IDs alone can win, and the race is decided on the rest. For an item that occurs once or twice, one purchase together
# with an item of the history is enough to be counted; a learned vector may need more of them. Where counting leads, on
# Movie-Book, that is the largest part of its lead in Book, but not in Movie. Pictures, if there were any, could help
# there first.
#
# The same runs once more, by the length of the history. If order and context were what the models live on, those that
# learn should pull away from those that count as histories get longer.

# %% mystnb={"figure": {"caption": "The paper's test sets: MRR against 999 negatives of every model, by the number of items in the history, with the share of the test cases below each group.", "name": "fig-where-history"}}
panels = where_it_helps.domain_panels(real_cases, real, "history")
figures.save_figure(where_it_helps.models_figure(panels, chance, False), "05d_history")
