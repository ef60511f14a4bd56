# A worker on the CPU, with the official models inside: docker build -f deploy/worker.Dockerfile .
FROM python:3.12-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 FIQA_MODELS_DIR=/opt/fiqa/models XDG_CACHE_HOME=/opt/fiqa/cache \
    FIQA_HEALTH_DIR=/tmp/fiqa

WORKDIR /opt/fiqa/src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY producer producer
COPY worker worker
RUN pip install -c constraints.txt '.[cpu]'

# Fetched, verified and prepared here: a worker never downloads, and may run read-only.
RUN useradd --system --create-home --home-dir /opt/fiqa/home fiqa \
    && mkdir -p /opt/fiqa/models /opt/fiqa/cache \
    && fiqa models pull \
    && fiqa models verify \
    && fiqa models prepare \
    && chown -R fiqa /opt/fiqa/cache

WORKDIR /opt/fiqa/home
USER fiqa
# In exec form, so that SIGTERM reaches the worker. It then releases its chunks.
STOPSIGNAL SIGTERM
# The worker touches the file every few seconds. It loads its models before that.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD test -n "$(find "$FIQA_HEALTH_DIR/alive" -mmin -1)"
ENTRYPOINT ["fiqa"]
CMD ["worker"]
