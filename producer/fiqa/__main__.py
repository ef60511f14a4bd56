"""`python -m fiqa` is `fiqa`, where no script is on the path."""

from fiqa.cli.main import main

# A worker's pool imports this module again in every child.
if __name__ == "__main__":
    main()
