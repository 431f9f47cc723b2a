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
# # Ask the model
#
# Put items into a history and see what IFCDSR recommends next, and why. The model runs in this page: no server, no
# network. It was trained on the demo, a small shop whose customers and pictures are made by rules, so its answers can
# be judged by eye: a customer has a favourite colour, pattern and theme, and buys kinds in a cycle.
#
# Things to try:
#
# - Load a few test cases, guess what was bought next, and look at the answer and its rank.
# - Empty the history, and add three items of one colour from Food. What does Kitchen recommend?
# - Switch to the *original framework*, which has never seen a picture. Which of the answers stay?
# - Move an old item to the end of the history. The newest item asks, and attention answers.
# - Pull the temperature τ up to 1, the formula as the paper prints it. The order of an encoder's items stays, but all
#   probabilities become almost the same.

# %% tags=["parameters", "hide-input"]
scenario = "food_kitchen"  # or movie_book
source = "demo"  # no other source has pictures
seed = 0
epochs = 0  # the most epochs to train; 0: the book's number

# %% tags=["hide-input"]
from IPython.display import HTML

from ifcdsr_core.analysis import inspection
from ifcdsr_core.book import explorer
from ifcdsr_core.runs import lists
from ifcdsr_core.runs.run import run

changes = {"epochs": epochs} if epochs else {}
columns = lists.ablation(scenario, [seed], inspection.pictured(source), **changes)
finished = [run(config) for configs in columns.values() for config in configs]

# %% tags=["hide-input"]
HTML(explorer.fragment([one.folder for one in finished]))

# %% [markdown]
# ## What is behind it
#
# The three models are the columns of {doc}`05_ablation`, each trained for itself; the page has the weights of one seed.
# The sliders do something else. They weigh the votes of a finished model anew, by {eq}`eq-fusion` and
# {eq}`eq-mixture`, and nothing is trained again.
#
# A *vote* is what one encoder says: of Food's items, of Kitchen's or of both, by ID or by image. It is the softmax of
# its cosines, {eq}`eq-p-id` and {eq}`eq-p-img`. The shares under *Why this item?* are each vote's part of the sum
# {eq}`eq-mixture`. Attention is another thing: it says where an encoder looks in the history, not what decides.
# {doc}`05e_attention` has both for all test cases.
#
# Any run of IFCDSR with its weights can be explored, in one HTML file that needs nothing else:
#
# ```bash
# python -m ifcdsr_core export data/runs/<folder> --to explorer.html
# ```
#
# The forward pass, `ifcdsr_core/book/explorer/model.js`, is written by hand, and its functions carry the numbers of the
# equations. A test compares it with the model in Python.
