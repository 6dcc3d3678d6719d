# Inside a mount namespace of its own: install, run, ask, remove. WORK PYTHON ROOT; `name=value` lines are the findings.
work=$1 python=$2 root=$3
mount -t tmpfs tmpfs "$work" 2>/dev/null || { echo "no mounts here" >&2; exit 77; }
for folder in etc opt var/lib run; do
    mkdir -p "$work/$folder/upper" "$work/$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$work/$folder/upper,workdir=$work/$folder/work" "/$folder" ||
        { echo "no overlays here" >&2; exit 77; }
done
test ! -e /opt/gate && test ! -e /run/gate || { echo "gate is installed here" >&2; exit 77; }

umask 077
cp -r "$root/gate" "$root/policies" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$work/run/"
install() {
    "$python" -m gate --json keeper install --container --from "$work/run" --python /usr/bin/python3
}
install >"$work/first.json"
echo 'kept sha256:00' >/etc/gate/trust
install >"$work/again.json"
echo "trust=$(cat /etc/gate/trust)"
echo "state-mode=$(stat -c '%a %U' /var/lib/gate)"
echo "environment-of-others=$(find /opt/gate ! -user root -o -perm /022 ! -type l | head -n 1)"

entry=$("$python" -c '
import json, sys
print(next(note for note in json.load(sys.stdin)["notes"] if "entry point" in note).split(": ", 1)[1])' <"$work/again.json")
cd /
$entry >&2 &
keeper=$!
trap 'kill $keeper 2>/dev/null || true' EXIT
tries=0
until [ -S /run/gate/keeper.sock ] || [ $tries -ge 100 ]; do sleep 0.1; tries=$((tries + 1)); done

mkdir -m 0755 "/run/agent" && chown 12345:12345 /run/agent
agent() { setpriv --reuid 12345 --regid 12345 --clear-groups env -i PATH="$PATH" HOME=/run/agent "$@"; }
echo "decision=$(agent /opt/gate/bin/gate --json explain convex --version)"
echo "as-root=$(/opt/gate/bin/gate --json explain convex --version)"
echo "spied=$(agent ls /var/lib/gate 2>/dev/null || echo refused)"

"$python" -m gate keeper uninstall >&2
wait $keeper
left=$(ls -d /etc/gate/trust /var/lib/gate /opt/gate /run/gate 2>/dev/null || true)
echo "left=$(echo $left)"
