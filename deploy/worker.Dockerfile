# A worker with its models inside. Build it from the root of the repository:
#   docker build -f deploy/worker.Dockerfile -t fiqa-worker .
# For a GPU: --build-arg EXTRA=gpu. Without network for models: put their files into deploy/models/ first.
# Another base, such as one pinned by its digest: --build-arg PYTHON_IMAGE=python:3.13-slim-trixie@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim-trixie

# The packages, in a layer that changes only with pyproject.toml and constraints.txt.
FROM ${PYTHON_IMAGE} AS packages
ARG EXTRA=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PYTHON=/opt/fiqa/venv/bin/python
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
# A worker needs no pip, no tests, no AWS service but S3 and logins, and no scripts of onnxruntime: 90 MB of 500.
RUN python -m venv /opt/pip \
    && python -m venv --without-pip /opt/fiqa/venv \
    && mkdir -p producer/fiqa worker/fiqa_worker \
    && touch producer/fiqa/__init__.py worker/fiqa_worker/__init__.py \
    && /opt/pip/bin/pip install -c constraints.txt ".[$EXTRA,heif]" \
    && if [ "$EXTRA" = gpu ]; then /opt/pip/bin/pip install 'onnxruntime-gpu[cuda,cudnn]'; fi \
    && /opt/pip/bin/pip uninstall -y fiqa \
    && find /opt/fiqa/venv -type d \( -name tests -o -path '*/onnx/backend/test' -o -path '*/onnxruntime/transformers' \) \
        -prune -exec rm -r {} + \
    && find /opt/fiqa/venv/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} +

# fiqa and its models: fetched, verified and prepared here, so that a worker may run with a read-only root.
FROM packages AS app
ENV PYTHONPATH=/opt/fiqa/app PATH=/opt/fiqa/app/bin:$PATH FIQA_MODELS_DIR=/opt/fiqa/models
COPY producer producer
COPY worker worker
RUN /opt/pip/bin/pip install --no-deps --target /opt/fiqa/app .
COPY deploy/models /opt/fiqa/models
ARG FIQA_DETECTOR=yunet_2023mar
ARG FIQA_QUALITY_MODEL=ediffiqa_tiny_jun2024
RUN fiqa models prepare || { fiqa models pull && fiqa models prepare; }

FROM ${PYTHON_IMAGE}
ARG FIQA_DETECTOR=yunet_2023mar
ARG FIQA_QUALITY_MODEL=ediffiqa_tiny_jun2024
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fiqa worker" \
      org.opencontainers.image.description="Scores the quality of faces in images: YuNet and eDifFIQA(T)" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENV PATH=/opt/fiqa/app/bin:/opt/fiqa/venv/bin:$PATH PYTHONPATH=/opt/fiqa/app \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    FIQA_MODELS_DIR=/opt/fiqa/models FIQA_DETECTOR=$FIQA_DETECTOR FIQA_QUALITY_MODEL=$FIQA_QUALITY_MODEL \
    FIQA_HEALTH_DIR=/tmp/fiqa
COPY --from=packages /opt/fiqa/venv /opt/fiqa/venv
COPY --from=app /opt/fiqa/models /opt/fiqa/models
COPY --from=app /opt/fiqa/app /opt/fiqa/app
# The libraries of CUDA, if the image is for a GPU. The driver comes from the host.
RUN find /opt/fiqa/venv -type d -path '*/nvidia/*/lib' >/etc/ld.so.conf.d/fiqa.conf && ldconfig
# Any user works: all users can read the files, and no home folder is needed. Kubernetes can check a number only.
USER 10001:10001
WORKDIR /tmp
STOPSIGNAL SIGTERM
# A worker touches the file every few seconds, once its models are loaded.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=2 \
    CMD ["sh", "-c", "find $FIQA_HEALTH_DIR/alive -mmin -1 | grep -q ."]
# In exec form, so that SIGTERM reaches the worker. It then releases its chunks.
ENTRYPOINT ["fiqa"]
CMD ["worker"]
