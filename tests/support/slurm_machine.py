"""A whole SLURM cluster on this machine, for tests: munged, slurmctld and one slurmd, in a temporary folder.

Its own ports, key and state; nothing outside the folder is read or written, and everything is stopped at the end,
whatever happened before. Needs Debian's slurmctld, slurmd, slurm-client and munge. As a program it stays until Ctrl-C
and says what to export: `python tests/support/slurm_machine.py`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
START_S, STOP_S = 60.0, 15.0
CPUS = 2
SBIN = "/usr/sbin"  # where daemons lie, which is on few users' PATH


def missing() -> str:
    """Which of the programs are not installed; "" where SLURM can be started here."""
    return ", ".join(name for name in PROGRAMS if not _program(name))


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), SBIN)))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(one.getsockname()[1])
        return found


def _configuration(folder: Path) -> str:
    """cred_expire is also how long a requeued job waits before it may start again; processes are told by their parents
    where a container has no cgroups to give."""
    control, node = _free_ports(2)
    name, user = socket.gethostname().split(".")[0], _user()
    lines = {
        "ClusterName": "test",
        "SlurmctldHost": f"{name}(127.0.0.1)",
        "SlurmctldPort": control,
        "SlurmdPort": node,
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket,cred_expire=5",
        "CredType": "cred/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "SlurmctldLogFile": folder / "slurmctld.log",
        "SlurmdLogFile": folder / "slurmd.log",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "sched_interval=2,bf_interval=2",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": 1,
        "ReturnToService": 2,
        "KillWait": 10,
        "InactiveLimit": 0,
        "SlurmdTimeout": 300,
    }
    text = "".join(f"{key}={value}\n" for key, value in lines.items())
    text += f"NodeName={name} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory=1000 State=UNKNOWN\n"
    text += f"PartitionName=main Nodes={name} Default=YES MaxTime=INFINITE State=UP PriorityTier=1\n"
    text += f"PartitionName=urgent Nodes={name} MaxTime=INFINITE State=UP PriorityTier=10\n"
    return text


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


@contextmanager
def running_slurm() -> Iterator[dict[str, str]]:
    """The cluster, at work; gives the environment that its commands need."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short enough for sockets
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munge trusts no socket in a folder that others may write to
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        (folder / "slurm.conf").write_text(_configuration(folder))
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        places = {"key": key, "socket": folder / "munge.socket", "pid": folder / "munged.pid"}
        munged = [f"--{name}-file={path}" for name, path in places.items() if name != "socket"]
        munged += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed", "--num-threads=1"]
        munged += [f"--socket={places['socket']}", "--force", "--foreground"]
        _start(stack, folder, "munged", munged, environment)
        _wait(places["socket"].exists, folder, "munged")
        _start(stack, folder, "slurmctld", ["-D", "-c"], environment)
        _start(stack, folder, "slurmd", ["-D", "-c"], environment)
        _wait(lambda: _is_idle(environment), folder, "slurmctld")
        yield environment


def _start(stack: ExitStack, folder: Path, name: str, words: list[str], environment: dict[str, str]) -> None:
    program = _program(name)
    assert program is not None
    with (folder / f"{name}.out").open("wb") as out:
        process = subprocess.Popen([program, *words], env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_idle(environment: dict[str, str]) -> bool:
    shown = subprocess.run(
        ["sinfo", "--noheader", "--format", "%t"], env=environment, capture_output=True, text=True, check=False
    )
    return set(shown.stdout.split()) == {"idle"}


def _wait(ready: object, folder: Path, name: str) -> None:
    assert callable(ready)
    deadline = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > deadline:
            logs = "".join(f"{path.name}:\n{path.read_text()[-2000:]}\n" for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"{name} did not start in {START_S:g} s.\n{logs}")
        time.sleep(0.1)


if __name__ == "__main__":
    with running_slurm() as made:
        print(f"export SLURM_CONF={made['SLURM_CONF']}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    sys.exit(0)
