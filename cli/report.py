"""``geomask report``: what runs came to, as a table and as a page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Sum up runs: a table and a page.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--case", default="demo", show_default=True, metavar="NAME", help="What the figures are of.")
def report(folder: Path, case: str) -> None:
    """Sum up the runs in DIR and print the table.

    DIR is the folder of a demo, of runs, or of one run. Into it go summary.json, which holds every figure, and
    report.html, one page that needs no other file.
    """
    from geomask.report.page import write_page
    from geomask.report.summary import summarise, table, write_summary

    summary = summarise(folder, case)
    page = write_page(folder, summary)
    write_summary(summary, folder)
    click.echo(table(summary))
    click.echo(f"report: {page}", err=True)
