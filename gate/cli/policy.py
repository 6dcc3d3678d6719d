"""`gate policy`: the verbs about what policies mean, one file per verb beside this one. Decides nothing."""

import click

from gate.cli.verbs import Verbs

_VERBS = {
    "diff": "gate.cli.policy_diff:diff",
    "prove": "gate.cli.policy_prove:prove",
    "who-can": "gate.cli.policy_who_can:who_can",
}


@click.group(cls=Verbs, table=_VERBS, epilog="Example: gate policy prove")
def policy() -> None:
    """What the policies mean: for all requests, before they are in force."""
