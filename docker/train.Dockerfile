# The training image: SageMaker's container contract around the trainer; processing jobs run it too.
#
#   docker build -f docker/train.Dockerfile -t bintally-train .
#
# TORCH=cpu (default) installs PyTorch's CPU build, TORCH=gpu the CUDA build, which is the one on the
# public package index. The CPU build is not there: TORCH_INDEX is the address of an index that has it
# (PyTorch publishes one), unless pip in the base image already knows a place.

FROM python:3.11-slim-bookworm AS packages
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev
RUN python -m venv --without-pip /opt/venv
COPY docker/constraints.txt docker/train.requirements.txt docker/install-torch.sh /build/
ARG TORCH=cpu
ARG TORCH_INDEX=
RUN sh /build/install-torch.sh "$TORCH" "$TORCH_INDEX" /build/train.requirements.txt
RUN pip --python /opt/venv install -q --no-cache-dir -c /build/constraints.txt -r /build/train.requirements.txt \
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
COPY containers/train /opt/bintally/containers/train
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/bintally \
    && mkdir -p /opt/ml
WORKDIR /opt/ml
# SageMaker runs `docker run IMAGE train`. The launcher is told nothing by that word: it trains.
ENTRYPOINT ["tini", "-s", "--", "python", "-m", "containers.train.launch"]
CMD ["train"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bintally-train" \
      org.opencontainers.image.description="BinTally's trainer, evaluation and export, under SageMaker's container contract" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.revision="$REVISION"
