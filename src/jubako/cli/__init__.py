"""The command `jubako`: one module a subcommand."""

import click

from jubako import __version__
from jubako.cli.serve import serve


@click.group()
@click.version_option(__version__, prog_name="jubako")
def main() -> None:
    """Serve Triton-style model repositories with BentoML."""


main.add_command(serve)
