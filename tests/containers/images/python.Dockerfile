# Takes the place of python:3.13-slim-trixie: Debian's own Python 3.13.
FROM fiqa-test-debian
RUN apt-get update -qq \
    && apt-get install -yqq --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/python3 /usr/local/bin/python
# pip has certificates of its own. The machine's are needed if its network has one.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
CMD ["python"]
