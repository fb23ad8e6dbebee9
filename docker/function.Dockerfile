# The Lambda image: awslambdaric on the same base as the others.
#
#   docker build -f docker/function.Dockerfile -t bintally-function .
#
# Layers go from what changes least to what changes most: packages, then our code, then labels.

FROM python:3.11-slim-bookworm AS packages
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends g++ make cmake autoconf automake libtool
COPY docker/constraints.txt docker/function.requirements.txt /build/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv install -q --no-cache-dir -c /build/constraints.txt -r /build/function.requirements.txt

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/bintally PYTHONUNBUFFERED=1
COPY --from=packages /opt/venv /opt/venv
COPY containers/__init__.py /opt/bintally/containers/
COPY containers/common /opt/bintally/containers/common
COPY containers/functions /opt/bintally/containers/functions
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/bintally
USER 10001:10001
WORKDIR /opt/bintally
ENTRYPOINT ["python", "-m", "awslambdaric"]
CMD ["containers.functions.count.app.handler"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bintally-function" \
      org.opencontainers.image.description="BinTally's Lambda function: a photograph and its record in, a verdict out" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.revision="$REVISION"
