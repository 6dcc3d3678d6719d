#!/bin/sh
# May production be reached over MCP now? Exits 0 when a live grant covers it, else 1 with the reason on stderr.
#
# Advisory: it asks, it cuts nothing and it hands out no key. What enforces is the keeper, at every lease (ADR-0029).
# Variables, in the order in which they are checked:
#   OA_CONVEX_MCP_PROD_ACCESS_ENABLED  1
#   OA_CHANGE_TICKET                   not empty
#   OA_MCP_PROD_ACCESS_REASON          not empty
#   OA_MCP_PROD_ACKNOWLEDGE_RISK       YES
#   OA_MCP_PROD_ACCESS_TTL_MINUTES     an integer, 1 to 60
#   OA_CONVEX_DEPLOYMENT               name in the registry, such as prod
#   OA_CONVEX_EFFECTS                  comma-separated; deployment:data:view where it is empty
# Where GATE_PRINCIPAL is set, only grants of that caller count: nobody else can use them.
set -u
# Ranges such as [0-9] are those of ASCII, whatever the caller's language.
LC_ALL=C
export LC_ALL
unset CDPATH ENV BASH_ENV

deny() {
    printf 'MCP production access denied: %s\n' "$1" >&2
    exit 1
}

[ "${OA_CONVEX_MCP_PROD_ACCESS_ENABLED:-}" = 1 ] ||
    deny 'it is disabled unless OA_CONVEX_MCP_PROD_ACCESS_ENABLED=1'
[ -n "${OA_CHANGE_TICKET:-}" ] || deny 'OA_CHANGE_TICKET is empty'
[ -n "${OA_MCP_PROD_ACCESS_REASON:-}" ] || deny 'OA_MCP_PROD_ACCESS_REASON is empty'
[ "${OA_MCP_PROD_ACKNOWLEDGE_RISK:-}" = YES ] || deny 'OA_MCP_PROD_ACKNOWLEDGE_RISK is not YES'

minutes=${OA_MCP_PROD_ACCESS_TTL_MINUTES:-}
case $minutes in
'' | *[!0-9]*) deny 'OA_MCP_PROD_ACCESS_TTL_MINUTES is not an integer' ;;
esac
# Without its zeros in front a number of more than two digits is over 60, however long it is.
minutes=${minutes#"${minutes%%[!0]*}"}
case $minutes in
[1-9] | [1-5][0-9] | 60) ;;
*) deny 'OA_MCP_PROD_ACCESS_TTL_MINUTES is not between 1 and 60' ;;
esac

deployment=${OA_CONVEX_DEPLOYMENT:-}
[ -n "$deployment" ] || deny 'OA_CONVEX_DEPLOYMENT is empty'
effects=${OA_CONVEX_EFFECTS:-deployment:data:view}

grants=$(gate --json grants </dev/null) || deny 'the gate did not say which grants there are'

# One grant has to cover everything: a call is let through by exactly one.
printf '%s\n' "$grants" | python3 -I -c '
import json, sys
from datetime import datetime, timezone

def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))

def live(grant, now):
    if grant["state"] not in ("scheduled", "active"):
        return False
    begins, ends, most = grant.get("not_before"), grant["ends"], grant.get("max_uses")
    in_time = (begins is None or moment(begins) <= now) and (ends is None or now < moment(ends))
    return in_time and (most is None or grant["used"] < most)

def usable(grant, deployment, caller):
    return grant["deployment"] == deployment and caller in ("", grant.get("requester"))

def main(deployment, caller, effects):
    now = datetime.now(timezone.utc)
    wanted = set(effects.split(","))
    for grant in json.load(sys.stdin)["grants"]:
        effects = grant["effects"]
        if not isinstance(effects, list):
            raise TypeError
        if live(grant, now) and usable(grant, deployment, caller) and wanted <= set(effects):
            print("MCP production access: grant", ascii(grant["id"])[1:-1], "covers it")
            return 0
    return 1

try:
    sys.exit(main(*sys.argv[1:]))
except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    sys.exit(2)
' "$deployment" "${GATE_PRINCIPAL:-}" "$effects"
case $? in
0) exit 0 ;;
1) deny 'no live grant covers OA_CONVEX_EFFECTS on OA_CONVEX_DEPLOYMENT; ask with `gate request`' ;;
*) deny 'what the gate said cannot be understood' ;;
esac
