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
# # Complete data
#
# Of the paper's data the training sequences are missing, or rebuilt in part. The data on this page are complete with
# them: other authors cut them from the same shops. There are no pictures of their items, and IFCDSR runs without. What
# the columns of the tests mean is said in {doc}`04_comparison`; how all models were trained, in {doc}`04e_budget`; and
# what the control in the last row of the tables is, in {doc}`04c_numbering`.

# %% tags=["parameters"]
protocol = ""  # sampled_999, unseen_999 or full; empty: 999 negatives, on ABXI's data those its authors would draw

# %%
from IPython.display import Markdown, display

from ifcdsr_core.analysis import paper
from ifcdsr_core.book import evidence, figures, markup
from ifcdsr_core.book.pages import comparison, complete_data, training
from ifcdsr_core.errors import choose
from ifcdsr_core.runs import lists, store
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.settings import PROTOCOLS
from ifcdsr_core.sources import abxi

of_llmcdsr, of_abxi = (choose("protocol", protocol or own, PROTOCOLS) for own in ("sampled_999", "unseen_999"))

# %% [markdown]
# ## LLMCDSR's data
#
# The paper's domains, cut by the authors of LLMCDSR {cite:p}`llmcdsr`. Most users of these have a history in one domain
# only, as none of the paper's has; they are left out (`train_users=both`), as with them there are seven times as many
# sequences. Histories are cut to their newest 20 items. There are few users to test on, so that intervals are wide; no
# number of the paper belongs here.

# %% mystnb={"markdown_format": "myst"}
other = lists.shipped_comparison("llmcdsr", "food_kitchen")
if other:
    rows = other | store.shipped(lists.controls("food_kitchen", "llmcdsr"))
    display(evidence.comparison_table(rows, "llmcdsr", "food_kitchen", of_llmcdsr, "tab-shipped-llmcdsr"))
    display(comparison.against_rivals(other, "llmcdsr", "food_kitchen", of_llmcdsr))
else:
    display(Markdown("This version of the book ships no runs on these data."))

# %% [markdown]
# What the users of one domain would have brought is seen where a model was trained on all of them, too, with the same
# settings. All but Popularity gain points by it, not all of them beyond noise with so few seeds. The tables above
# compare models that see little of their data; who would be ahead with all of it is open:

# %% mystnb={"markdown_format": "myst"}
caption = (
    "Food-Kitchen (LLMCDSR's data): test MRR in percent against 999 sampled negatives after training on the users of "
    "both domains and on all; the difference with its 95 % interval. Means over the seeds that both have."
)
display(markup.show(complete_data.of_more_users(), caption, "tab-more-users"))

# %% [markdown]
# ## ABXI's data
#
# The same domains once more, and a third pair, cut by the authors of ABXI {cite:p}`abxi`: the last item of a user is
# the target of the test, the one before it that of the validation, and all that came before is trained on. Targets are
# ranked among 999 negatives that the user never interacted with ({doc}`04b_protocol`).
#
# As on all real data of this book, models are trained to their plateau: until ten epochs in a row bring no better
# validation MRR. Two processors have time for that only where models are small, so all have 64 dimensions, a quarter of
# the paper's, and a loss that draws 1,024 items a step (ABXI its own, of 128 items a domain); what the draw costs
# IFCDSR is measured in {doc}`05b_ledger`, gap 15. Settings are searched for each model alike ({doc}`04e_budget`).
# Of the items of Beauty-Electronics there are no titles, so that LLM-EMF is missing there.

# %% mystnb={"markdown_format": "myst"}
peers = lists.shipped_comparisons("abxi")
for name, runs in peers.items():
    rows = runs | store.shipped(lists.controls(name, "abxi"))
    display(evidence.comparison_table(rows, "abxi", name, of_abxi, f"tab-shipped-abxi-{name}"))
    display(comparison.against_rivals(runs, "abxi", name, of_abxi))

# %% [markdown]
# ### By its authors' recipe
#
# ABXI's authors publish what their model reaches on exactly these files, over five seeds, so that here our code can be
# held against theirs: a ratio near 1 says that the model written anew for this book is theirs. For that it is trained
# by their recipe, which no other model has: four times the width, a slow learning rate with a warm-up, a strong decay,
# and the patience of hundreds of epochs. These runs are in no table above: a model is held against another only where
# both were trained alike, as the row of ABXI above was. What its authors' numbers owe to the recipe is the difference
# between that row and these; what the recipe would do for the others has not been tried. Beside the authors' number the
# same runs stand against 999 negatives of all kinds, the user's own items among them, as in the tables of other data.
# (The authors let a target win its ties; here they count one half.)

# %% mystnb={"markdown_format": "myst"}
recipe = {name: store.shipped(lists.recipes(name, range(10), "abxi")) for name in abxi.SCENARIOS}
reproduced = {name: runs for name, runs in recipe.items() if runs}
for name, runs in reproduced.items():
    caption = (
        f"{markup.data_title('abxi', name)}: test MRR in percent against 999 negatives, here and as its authors "
        "publish it, by their choice of negatives; and here against 999 of all kinds. Here are "
        f"{evidence.repeats(runs)}."
    )
    table = complete_data.beside_authors(runs, paper.PUBLISHED_ABXI[name])
    display(markup.show(table, caption, f"tab-beside-abxi-{name}"))
if not reproduced:
    display(Markdown("This version of the book ships no such run."))

# %% mystnb={"figure": {"caption": "ABXI by its authors' recipe, seed 0: training loss, and validation MRR against 999 unseen negatives. The dotted line marks the epoch that was kept.", "name": "fig-abxi"}}
if "food_kitchen" in reproduced:
    run = reproduced["food_kitchen"]["ABXI"][0]
    title = markup.data_title("abxi", "food_kitchen")
    display(figures.save_figure(training.curves(run, DOMAIN_NAMES["food_kitchen"], title), "04_abxi"))
