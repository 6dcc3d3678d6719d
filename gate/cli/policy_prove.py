"""`gate policy prove`: whether the invariants hold for all requests. Changes nothing."""

import json

import click

from gate.cli import policy_files, policy_screen, refusal
from gate.cli.convex import Options
from gate.cli.policy_screen import CLEAN, FINDINGS
from gate.policy.analysis.prove import Proof, prove as proofs_of


@click.command(epilog="Example: gate policy prove")
@click.argument("source", metavar=policy_files.OPTIONAL, required=False)
@click.pass_obj
@policy_screen.inspection
def prove(options: Options, source: str | None) -> int:
    """Prove the invariants in the policies of SOURCE over all requests, or show one for which one does not hold.

    SOURCE is a folder, a gate.yaml, or `active`; the project here where it is left out. Exits 0 when all are proven,
    1 with a counterexample, without any invariant or with invalid files, 3 when it cannot tell.
    """
    proofs = list(proofs_of(policy_files.read_side(source)))
    proven = bool(proofs) and all(proof.proven for proof in proofs)
    if options.json:
        click.echo(json.dumps({"proven": proven, "invariants": [proof.to_json() for proof in proofs]}))
    else:
        _show(proofs)
    return CLEAN if proven else FINDINGS


def _show(proofs: list[Proof]) -> None:
    for proof in proofs:
        cited = proof.invariant.cited
        click.echo(f"{'proven ' if proof.proven else 'BROKEN '} {cited.id} at {cited.at}")
        if proof.vacuous:
            refusal.warn(f"{cited.id} speaks of no request at all")
        if proof.counterexample is not None:
            _show_counterexample(proof)
    if not proofs:
        click.echo("nothing is proven: no policy has invariants")


def _show_counterexample(proof: Proof) -> None:
    found = {} if proof.counterexample is None else proof.counterexample.to_json()
    click.echo(f"  because  {refusal.escaped(proof.invariant.cited.because)}")
    click.echo(f"  request  {policy_screen.request_line(found['request'])}")
    click.echo(f"  verdict  {policy_screen.verdict_line(found['verdict'], found['needs'])}")
    if proof.lacking:
        click.echo(f"  lacking  {', '.join(proof.lacking)}")
    for line in policy_screen.rules_lines(found["rules"]):
        click.echo(f"  rule     {line}")
