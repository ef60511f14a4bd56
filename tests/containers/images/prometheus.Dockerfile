# Takes the place of prom/prometheus: Debian's own.
FROM fiqa-test-debian
RUN apt-get update -qq \
    && apt-get install -yqq --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
