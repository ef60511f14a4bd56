# The light client: it submits jobs, follows them and reads their results. Build it from the root of the repository:
#   docker build -f deploy/client.Dockerfile -t fiqa-client .
#   docker run --rm --env-file fiqa.env fiqa-client submit s3://photos/2026/ --wait
# Another base, such as one pinned by its digest: --build-arg PYTHON_IMAGE=python:3.13-slim-trixie@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PYTHON=/opt/fiqa/venv/bin/python
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY producer producer
COPY worker worker
# A client needs no pip, no tests, and no AWS service but S3 and logins.
RUN python -m venv /opt/pip \
    && python -m venv --without-pip /opt/fiqa/venv \
    && /opt/pip/bin/pip install -c constraints.txt '.[report]' \
    && find /opt/fiqa/venv -type d -name tests -prune -exec rm -r {} + \
    && find /opt/fiqa/venv/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} +

FROM ${PYTHON_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fiqa client" \
      org.opencontainers.image.description="Submits images for face image quality, and reads the results" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENV PATH=/opt/fiqa/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=packages /opt/fiqa/venv /opt/fiqa/venv
# Any user works: all users can read the files, and no home folder is needed. Kubernetes can check a number only.
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["fiqa"]
CMD ["--help"]
