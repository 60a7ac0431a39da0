"""The command `metafa`, and ``python -m metafa``: what can stop it is heeded before anything large is imported."""

from metafa.running import stopping


def main() -> None:
    """The entry point."""
    with stopping.announced():
        from metafa import cli

        cli.main()


if __name__ == "__main__":
    main()
