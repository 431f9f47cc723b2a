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
# # Pictures as vectors
#
# IFCDSR never sees a picture. It sees what CLIP {cite:p}`clip` makes of it: a vector of length one. Pictures of similar
# things point in similar directions. CLIP learned this from pairs of a picture and a caption, and is
# *frozen*: recommending does not change it. This page embeds the pictures of a scenario and looks at what the vectors
# know.

# %% tags=["parameters"]
source = "demo"
scenario = "food_kitchen"  # or movie_book
encoder = "small_clip"  # or such as ViT-B-32-quickgelu/openai

# %%
from ifcdsr_core.book import figures, markup
from ifcdsr_core.book.pages import clip_embedding
from ifcdsr_core.features.images import embed_images
from ifcdsr_core.sources import prepare

world = prepare(source, scenario)
features = embed_images(world, encoder)
in_x = (world.items["domain"] == "x").to_numpy()

# %% [markdown]
# ## The pictures
#
# Every item should have one. An item without a usable picture gets the mean vector of its domain, which says "some item
# of this domain" and no more; the table counts such cases.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    clip_embedding.feature_counts(world, features.missing),
    f"{markup.data_title(source, scenario)}: items with a picture; vectors of "
    f"{features.matrix.shape[1]} numbers by {features.encoder}.",
    "tab-pictures",
)

# %% mystnb={"figure": {"caption": "Randomly chosen items with their titles, one row per domain.", "name": "fig-gallery"}}
figures.save_figure(clip_embedding.gallery(world), "02_gallery")

# %% [markdown]
# ## Is it a CLIP?
#
# The demo's pictures are embedded by a small CLIP of our own, trained on pictures and captions drawn from other random
# numbers than the demo's. It is tested as CLIP was: given a new picture and a list of descriptions, which one fits
# best? Nothing is trained for this test, hence *zero-shot*. *Held out combinations* are pairs of a kind and a colour
# that training never showed or named together, so the model cannot have memorised them.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    clip_embedding.zero_shot(),
    "Zero-shot accuracy of the small CLIP on pictures it was not trained on; "
    "joint: kind, colour and pattern all at once.",
    "tab-zero-shot",
)

# %% [markdown]
# ## Nearest neighbours
#
# For some items, the most similar pictures of each domain, with their cosines. Neighbours *across* domains are what
# cross-domain recommendation by pictures rests on: if a dotted mug lies near a dotted tea tin, a taste for dots can be
# carried from one domain into the other.

# %% mystnb={"figure": {"caption": "Nearest neighbours by cosine. Left: the query; then the five most similar pictures of each domain, the query itself left out, with their cosines.", "name": "fig-neighbours"}}
queries = clip_embedding.sample_rows(features.missing, 6, seed=1)
found = [clip_embedding.nearest_neighbours(features.matrix, queries, of_domain, k=5) for of_domain in (in_x, ~in_x)]
headings = [f"nearest in {name}" for name in world.domain_names]
fig = clip_embedding.neighbours(world, features.matrix, queries, found, headings)
figures.save_figure(fig, "02_neighbours")

# %% [markdown]
# The demo knows what its pictures show, so the impression can be measured: how often do the five nearest pictures share
# an attribute with the query? A kind of thing belongs to one domain only and is not compared across domains. (For a
# source that does not name such attributes the table is empty.)

# %% mystnb={"markdown_format": "myst"}
markup.show(
    clip_embedding.neighbour_agreement(world, features.matrix, k=5),
    "Share of the five nearest pictures that agree with the query, over all items, beside chance.",
    "tab-agreement",
)

# %% [markdown]
# ## A map
#
# The vectors have far more than two dimensions. t-SNE flattens them so that near neighbours stay near; how far apart
# two groups lie on the map means little.

# %% mystnb={"figure": {"caption": "A t-SNE map of the image vectors, drawn with the pictures themselves; frames show the domain.", "name": "fig-map"}}
rows = clip_embedding.sample_rows(features.missing, 500)
places = clip_embedding.flat_map(features.matrix[rows])
figures.save_figure(clip_embedding.picture_map(world, places, rows), "02_map")
