"""``edgectl schema``."""

from __future__ import annotations

import json

import click

from edgectl.project.schema import project_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of edgectl.yaml, for editors."""
    click.echo(json.dumps(project_schema(), indent=2, ensure_ascii=False, sort_keys=True))
