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
# # What the protocol does
#
# The paper does not say among which candidates it ranks the right item. Two protocols are in use: against 999 random
# items of the domain (`sampled_999`), and against all of them (`full`). This page uses the very same runs as
# {doc}`04_comparison` and changes nothing but that.

# %% tags=["parameters"]
source = "demo"  # of the runs beside those on the paper's data
scenarios = "food_kitchen,movie_book"  # one or more that the source has
seeds = "0,1,2,3,4"
epochs = 0  # at most this many; 0: the book's number

# %%
from IPython.display import Markdown, display

from ifcdsr_core.analysis import bounds, paired
from ifcdsr_core.book import evidence, figures, markup, parameters
from ifcdsr_core.book.pages import data_statistics, protocol
from ifcdsr_core.runs import lists, sweep
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.sources import prepare

names = parameters.parse_scenarios(scenarios, source)
seed_list = parameters.parse_seeds(seeds)
changes = {"epochs": epochs} if epochs else {}

# %%
shipped = lists.shipped_comparisons("c2dsr")
evidence.inventory(shipped)

# %% [markdown]
# ## The paper's test sets

# %% mystnb={"markdown_format": "myst"}
for name, runs in shipped.items():
    both = paired.both_protocols(runs, DOMAIN_NAMES[name])
    display(
        markup.show(
            both,
            f"{markup.data_title('c2dsr', name)}: test MRR in percent "
            "and the place of each model under both protocols.",
            f"tab-protocols-c2dsr-{name}",
        )
    )
    display(Markdown(protocol.protocol_verdict(both)))

# %% [markdown]
# Are the places more than luck? The same runs, ranked among all items:

# %% mystnb={"markdown_format": "myst"}
for name, runs in shipped.items():
    display(evidence.comparison_table(runs, "c2dsr", name, "full", f"tab-shipped-{name}-full"))

# %% [markdown]
# ### From ten candidates to all
#
# The rank among all items determines the mean reciprocal rank of a case over all draws of a number of negatives,
# without drawing any (the number of better items in a draw is hypergeometric). So the whole way from one protocol to
# the other can be seen. Where two curves cross, a different number of negatives puts the two models in another order.

# %% mystnb={"figure": {"caption": "Expected MRR by the number of negatives, from ten candidates to all items of the domain, on the paper's test sets, as a multiple of the geometric mean of the models. The dotted line marks 999.", "name": "fig-candidates-c2dsr"}}
values = {
    markup.data_title("c2dsr", name): paired.over_candidates(
        runs, DOMAIN_NAMES[name], data_statistics.num_items("c2dsr", name)
    )
    for name, runs in shipped.items()
}
figures.save_figure(protocol.candidates(values), "04b_candidates_c2dsr")

# %% [markdown]
# The same numbers as a table, for any number of negatives:

# %%
for name, runs in shipped.items():
    counts = data_statistics.num_items("c2dsr", name)
    display(protocol.how_many_negatives(runs, DOMAIN_NAMES[name], counts, markup.data_title("c2dsr", name)))

# %% [markdown]
# ## Which 999, and who wins a tie
#
# Two more choices hide behind "999 negatives", and hardly a paper names them. ABXI {cite:p}`abxi` draws the negatives
# from the items that the user *never interacted with*: what the user has bought already, and a good model rates high,
# does not compete with the target. And its rank is one more than the number of items that score *higher*, so that a
# target wins its ties: a model that scores all items alike would have MRR 1. Here ties count one half. The same scores,
# ranked by these choices, on ABXI's data:

# %% mystnb={"markdown_format": "myst"}
peers = lists.shipped_comparisons("abxi")
for name, runs in peers.items():
    caption = (
        f"{markup.data_title('abxi', name)}: test MRR in percent against 999 negatives, by whom they are drawn from "
        "and by who wins a tie."
    )
    display(markup.show(protocol.choices(runs, DOMAIN_NAMES[name]), caption, f"tab-choices-abxi-{name}"))

# %% [markdown]
# ## The demo
#
# Its domains have 1,010 to 1,480 items, so 999 negatives are nearly all of the smaller ones and two thirds of the
# larger ones. In the smaller ones the two protocols all but agree; in the larger ones the numbers differ by up to a
# third, and few places change. The demo's numbers should not be taken for those of a catalogue of tens of thousands of
# items.

# %%
results = {}
for name in names:
    experiment = lists.comparison(name, seed_list, source, **changes)
    results[name] = sweep.run_all(experiment)

# %% mystnb={"markdown_format": "myst"}
for name, runs in results.items():
    both = paired.both_protocols(runs, DOMAIN_NAMES[name])
    display(
        markup.show(
            both,
            f"{markup.data_title(source, name)}: test MRR in percent and the place of each model under both protocols.",
            f"tab-protocols-{source}-{name}",
        )
    )
    display(Markdown(protocol.protocol_verdict(both)))

# %% [markdown]
# Among all items, with the best possible answers below the models ({doc}`04_comparison` says what these two rows are):

# %% mystnb={"markdown_format": "myst"}
for name, runs in results.items():
    rows = runs | bounds.bounds(runs)
    display(evidence.comparison_table(rows, source, name, "full", f"tab-comparison-{source}-{name}-full"))

# %% mystnb={"figure": {"caption": "Expected MRR by the number of negatives on the demo, as a multiple of the geometric mean of the models. The dotted line marks 999.", "name": "fig-candidates-demo"}}
worlds = {name: prepare(source, name) for name in names if source == "demo"}
values = {
    markup.data_title(source, name): paired.over_candidates(
        results[name], world.domain_names, (world.num_items_x, world.num_items_y)
    )
    for name, world in worlds.items()
}
figures.save_figure(protocol.candidates(values), f"04b_candidates_{source}")

# %%
for name, world in worlds.items():
    counts = (world.num_items_x, world.num_items_y)
    display(protocol.how_many_negatives(results[name], world.domain_names, counts, markup.data_title(source, name)))
