"""``lesionedge doctor``: what works here, and what to type to mend what does not."""

from __future__ import annotations

import click

from lesionedge.cli import printable

SIGNS = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Look at what prediction and cameras need; exits with 1 if prediction cannot work."""
    from lesionedge import __version__, doctor

    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        if not as_json:
            click.echo(printable(f"{SIGNS[finding.state]}  {finding.about}: {finding.found}"))
            if finding.fix:
                click.echo(printable(f"         to mend: {finding.fix}"))
    works = doctor.works(findings)
    if as_json:
        import json
        from dataclasses import asdict

        rows = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"lesionedge": __version__, "works": works, "findings": rows}))
    else:
        click.echo(f"\nPrediction {'works' if works else 'cannot work'} here.")
    if not works:
        ctx.exit(1)
