# The notebooks in JupyterLab, with the packages of requirements.lock: on Binder, or
#   docker build -t ifcdsr . && docker run --rm -p 8888:8888 ifcdsr
FROM python:3.11-slim-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*

# Binder names its user, who is not root and has to be able to write at home.
ARG NB_USER=jovyan
ARG NB_UID=1000
RUN useradd --create-home --uid ${NB_UID} ${NB_USER}
ENV HOME=/home/${NB_USER}
WORKDIR ${HOME}
COPY --chown=${NB_UID} . .

USER ${NB_USER}
RUN PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 make .venv/.ready
ENV PATH=${HOME}/.venv/bin:${PATH}

EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
