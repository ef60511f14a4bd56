# Takes the place of SeaweedFS: Debian's own Ceph, with its data in memory.
FROM fiqa-test-debian
RUN apt-get update -qq \
    && apt-get install -yqq --no-install-recommends ceph-common ceph-mon ceph-osd radosgw \
    && rm -rf /var/lib/apt/lists/*
COPY s3/start-s3.sh s3/stop-s3.sh /opt/s3/
ENV FIQA_S3_PORT=8333 FIQA_S3_ADDRESS=0.0.0.0
