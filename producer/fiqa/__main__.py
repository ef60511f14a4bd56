"""`python -m fiqa_producer` is `fiqa`, where no script is on the path."""

from fiqa_producer.cli import main

# A worker's pool imports this module again in every child.
if __name__ == "__main__":
    main()
