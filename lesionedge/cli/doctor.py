"""``lesionedge doctor``: checks what works here, and says how to fix the rest."""

from __future__ import annotations

import click

from lesionedge.cli import options, printable

SIGNS = {"ok": "ok   ", "absent": "-    ", "note": "note ", "fault": "FAULT"}


@click.command("doctor", epilog=options.examples("lesionedge doctor"))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    cls=options.Renamed, former_flags={"--json": "json"}, help="json: one object.",
)  # fmt: skip
@click.pass_context
def command(ctx: click.Context, form: str) -> None:
    """Check what prediction and cameras need. The exit status is 1 if prediction cannot work."""
    from lesionedge import __version__, doctor

    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        if form == "text":
            click.echo(printable(f"{SIGNS[finding.state]}  {finding.about}: {finding.found}"))
            if finding.fix:
                verb = "to add it" if finding.state == "absent" else "to fix it"
                click.echo(printable(f"         {verb}: {finding.fix}"))
    works = doctor.works(findings)
    if form == "json":
        import json
        from dataclasses import asdict

        rows = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"lesionedge": __version__, "works": works, "findings": rows}))
    else:
        click.echo(f"\nPrediction {'works' if works else 'cannot work'} here.")
        if any(finding.state == "absent" for finding in findings):
            click.echo("What is marked with - is missing, but prediction does not need it.")
    if not works:
        ctx.exit(1)
