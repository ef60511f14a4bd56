# Takes the place of redis:7.4-bookworm: Debian's own Redis.
FROM fiqa-test-debian
RUN apt-get update -qq \
    && apt-get install -yqq --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /data
# As the original: other containers may connect.
ENTRYPOINT ["redis-server", "--protected-mode", "no", "--bind", "*", "--dir", "/data"]
