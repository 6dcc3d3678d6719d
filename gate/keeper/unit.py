"""How an installed keeper is run: by systemd, or by hand in a container. Installs nothing."""

from gate.keeper import places

HOME = "/opt/gate"
PYTHON = f"{HOME}/bin/python"
SERVICE = "gate-keeper.service"
UNIT = f"/etc/systemd/system/{SERVICE}"
_ENVIRONMENT = places.keeper_environment(places.INSTALLED_STATE)
# A keeper that others rely on does not end because nobody called for a while.
_RUN = (PYTHON, "-I", "-m", "gate", "keeper", "run", "--idle-seconds", "1000000000")

# ProtectProc and ProcSubset are left alone: the keeper reads the boot's name in /proc/sys.
_UNIT_TEXT = """\
[Unit]
Description=Access gate in front of Convex: the keeper
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={run}
User={user}
Group={user}
{environment}
WorkingDirectory=/
UMask=0077
Restart=always
RestartSec=1
RuntimeDirectory=gate
RuntimeDirectoryMode=0755
LimitCORE=0
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths={state} /run/gate
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def unit_text(user: str) -> str:
    """The systemd unit of the keeper that runs as `user`."""
    environment = "\n".join(f"Environment={name}={value}" for name, value in _ENVIRONMENT.items())
    return _UNIT_TEXT.format(user=user, environment=environment, run=" ".join(_RUN), state=places.INSTALLED_STATE)


def entrypoint(user: str) -> list[str]:
    """Command line that runs the installed keeper as `user` where there is no systemd; root calls it."""
    drop = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
    return [*drop, "env", "-i", *(f"{name}={value}" for name, value in _ENVIRONMENT.items()), *_RUN]
