"""The demo of docker-compose.yml: puts sample photos into the bucket, submits them, and prints their results."""

from __future__ import annotations

import tempfile
from pathlib import Path

import boto3
from rich.console import Console

from fiqa import Client
from fiqa_worker.demo.photos import make_photos
from fiqa_worker.demo.table import best_first, table

BUCKET = "fiqa"
PREFIX = "demo/"


def main() -> None:
    s3 = boto3.client("s3")
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder))
        for photo in photos:
            s3.upload_file(str(photo), BUCKET, PREFIX + photo.name)
    console = Console(width=100)
    with Client() as client:
        job = client.submit([f"s3://{BUCKET}/{PREFIX}{photo.name}" for photo in photos], name="demo")
        console.print(f"job {job.id}: {len(photos)} photos in s3://{BUCKET}/{PREFIX}")
        job.wait(timeout_s=300)
        console.print(table(best_first(list(job.results()))))


if __name__ == "__main__":
    main()
