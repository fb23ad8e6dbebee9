# The exploration image: a search with AutoGluon, run as a training job.
#
#   docker build -f docker/explore.Dockerfile -t bintally-explore .
#
# TORCH and TORCH_INDEX choose the build of torch, as in train.Dockerfile.

FROM python:3.11-slim-bookworm AS packages
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev
RUN python -m venv --without-pip /opt/venv
COPY docker/explore.lock.txt /build/constraints.txt
COPY docker/explore.requirements.txt docker/install-torch.sh /build/
ARG TORCH=cpu
ARG TORCH_INDEX=
RUN sh /build/install-torch.sh "$TORCH" "$TORCH_INDEX" /build/explore.requirements.txt
# --no-deps: the lock names every package, and resolving them again would only cost time.
# --use-pep517: a package's own setup would look for pip in the environment, which has none.
RUN pip --python /opt/venv install -q --no-cache-dir --use-pep517 --no-deps -r /build/constraints.txt \
    && pip --python /opt/venv check \
    && sh /build/install-torch.sh strip

FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/bintally PYTHONUNBUFFERED=1 \
    HOME=/tmp TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor MPLCONFIGDIR=/tmp/matplotlib
COPY --from=packages /opt/venv /opt/venv
COPY containers/__init__.py /opt/bintally/containers/
COPY containers/common /opt/bintally/containers/common
# What it shares with the trainer: its hyperparameters, which are what a recipe is made of, weights, and
# the cure that torchvision needs here too.
COPY containers/train/__init__.py containers/train/hyperparameters.py containers/train/packaged.py \
    containers/train/torchvision_cpu.py /opt/bintally/containers/train/
COPY containers/explore /opt/bintally/containers/explore
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/bintally && mkdir -p /opt/ml
WORKDIR /opt/ml
# SageMaker runs `docker run IMAGE train`, a word that the search has no use for.
ENTRYPOINT ["tini", "-s", "--", "python", "-m", "containers.explore.explore"]
CMD ["train"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bintally-explore" \
      org.opencontainers.image.description="BinTally's search for a recipe: AutoGluon, under SageMaker's container contract" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.revision="$REVISION"
