# The serving image: one handler behind multi-model-server or the small Flask front (BINTALLY_FRONT).
#
#   docker build -f docker/serve.Dockerfile --target serve -t bintally-serve .
#   docker build -f docker/serve.Dockerfile --target torchserve -t bintally-torchserve .   # for tests
#
# TORCH=cpu|gpu adds torch, which only an Elastic Inference accelerator needs; TORCH_INDEX as in train.Dockerfile.

FROM python:3.11-slim-bookworm AS packages
RUN python -m venv --without-pip /opt/venv
COPY docker/constraints.txt docker/serve.requirements.txt docker/train.requirements.txt docker/install-torch.sh /build/
ARG TORCH=none
ARG TORCH_INDEX=
RUN if [ "$TORCH" != none ]; then sh /build/install-torch.sh "$TORCH" "$TORCH_INDEX" /build/train.requirements.txt; fi
RUN pip --python /opt/venv install -q --no-cache-dir -c /build/constraints.txt -r /build/serve.requirements.txt

# A Java runtime of the modules that the servers use, a fifth of the packaged one, and the plugin for /ping.
FROM python:3.11-slim-bookworm AS java
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends openjdk-17-jdk-headless binutils
RUN jlink --output /opt/java --strip-debug --no-header-files --no-man-pages --compress=2 --add-modules \
    java.base,java.desktop,java.logging,java.management,java.naming,java.sql,java.xml,jdk.unsupported,jdk.zipfs
COPY --from=packages /opt/venv/lib/python3.11/site-packages/mms/frontend /build/frontend
COPY docker/mms /build/mms
RUN javac -cp '/build/frontend/*' -d /build/plugin /build/mms/Ping.java \
    && mkdir -p /build/plugin/META-INF/services /opt/front/mms \
    && echo Ping > /build/plugin/META-INF/services/software.amazon.ai.mms.servingsdk.ModelServerEndpoint \
    && jar --create --file /opt/front/mms/ping.jar -C /build/plugin . \
    && cp -r /build/mms/config.properties /build/mms/log4j2.xml /build/mms/models /opt/front/mms/

FROM python:3.11-slim-bookworm AS serve
ENV PATH=/opt/venv/bin:/opt/java/bin:$PATH PYTHONPATH=/opt/bintally PYTHONUNBUFFERED=1
COPY --from=java /opt/java /opt/java
COPY --from=packages /opt/venv /opt/venv
COPY --from=java /opt/front /opt/front
COPY containers/__init__.py /opt/bintally/containers/
COPY containers/common /opt/bintally/containers/common
COPY containers/serve /opt/bintally/containers/serve
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/bintally && mkdir -p /opt/ml/model
WORKDIR /opt/bintally
EXPOSE 8080
# SageMaker runs `docker run IMAGE serve`; the supervisor is process 1 and reaps what its servers leave.
ENTRYPOINT ["python", "-m", "containers.serve.supervisor"]
CMD ["serve"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bintally-serve" \
      org.opencontainers.image.description="BinTally's endpoint: a photograph of a bin in, count and verdict out" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.revision="$REVISION" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true"

# TorchServe's workers import torch, whatever the handler does.
FROM packages AS torchserve-packages
ARG TORCH_INDEX=
RUN sh /build/install-torch.sh cpu "$TORCH_INDEX" /build/train.requirements.txt
COPY docker/torchserve.requirements.txt /build/
RUN pip --python /opt/venv install -q --no-cache-dir -r /build/torchserve.requirements.txt

FROM serve AS torchserve
COPY docker/torchserve /opt/front/torchserve
# A model's folder with one folder in it is taken for an archive around the model: there must be two.
RUN mkdir /opt/front/torchserve/models/bintally/code
ENV BINTALLY_FRONT=torchserve
COPY --from=torchserve-packages /opt/venv /opt/venv

# The last stage is what a build without --target makes.
FROM serve
