"""`python -m fiqa` runs `fiqa`, even if the script is not on the path."""

from fiqa.cli.main import main

# Every child of a worker's pool imports this module again.
if __name__ == "__main__":
    main()
