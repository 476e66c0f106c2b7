"""``edgectl schema``."""

from __future__ import annotations

import json

import click

from edgectl.project.schema import project_schema
from edgectl.workflow.plan import plan_schema


@click.command()
@click.argument("document", type=click.Choice(["project", "plan"]), default="project")
def schema(document: str) -> None:
    """Print the JSON Schema of edgectl.yaml, for editors, or of a plan, for programs."""
    found = project_schema() if document == "project" else plan_schema()
    click.echo(json.dumps(found, indent=2, ensure_ascii=False, sort_keys=True))
