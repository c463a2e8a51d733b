"""A real Slurm of two nodes on this host: munged, slurmctld and two slurmd, all of this user, on the loopback interface.

The daemons run in the foreground as children of this process, below one folder, with ports and a key of their own.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("n1", "n2")
START_S = 60.0


class NoCluster(Exception):
    """Slurm is installed but does not run here: why."""


CONFIGURATION = """
ClusterName=maelio
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=300
KillWait=2
MinJobAge=3600
InactiveLimit=0
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=1000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=10 State=UP PriorityTier=10
PartitionName=spare Nodes=n2 MaxTime=60 DefaultTime=10 State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=n2 MaxTime=60 DefaultTime=10 State=UP PriorityTier=100
"""


@dataclass
class Cluster:
    """`environment` is what Slurm's commands need to find it."""

    folder: Path
    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def call(self, *command: str) -> str:
        whole = {**os.environ, **self.environment}
        done = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise NoCluster(f"{command[0]}: {' '.join(done.stderr.split())}")
        return done.stdout

    def start(self, name: str, *command: str) -> None:
        """Its log is NAME.log."""
        with open(self.folder / f"{name}.log", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_node(self, node: str) -> None:
        self.start(node, _path("slurmd"), "-D", "-N", node)

    def crash_node(self, node: str) -> None:
        """As when its power fails; Slurm is told at once, rather than after SlurmdTimeout."""
        self.daemons[node].kill()
        self.daemons.pop(node).wait()
        self.kill_steps(node)
        self.call("scontrol", "update", f"nodename={node}", "state=down", "reason=crashed")

    def mend_node(self, node: str) -> None:
        self.start_node(node)

        def mended() -> bool:
            if node in self._up():  # at work, perhaps: a job that waited for it starts at once
                return True
            self.call(
                "scontrol", "update", f"nodename={node}", "state=resume"
            )  # refused once it came back by itself
            return False

        self.wait(mended, f"{node} is not up")

    def kill_steps(self, node: str) -> None:
        """What runs on a node beside slurmd. The supervisors of jobs first: they would still tell what became of them."""
        started = [process for process in psutil.process_iter() if _runs_on(process, node, self.folder)]
        parents = [parent for process in started if (parent := _parent(process))]
        supervisors = [parent for parent in parents if _name(parent).startswith("slurmstepd")]
        for process in supervisors + started:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def wait_until_up(self) -> None:
        """Raises NoCluster: a daemon ended, or the nodes are not up in time."""
        self.wait(lambda: self._up() == set(NODES), "nodes are not up")

    def _up(self) -> set[str]:
        return set(self.call("sinfo", "-h", "-N", "-p", "main", "-t", "idle,mix,alloc", "-o", "%N").split())

    def wait(self, reached: Callable[[], bool], trouble: str) -> None:
        end = time.monotonic() + START_S
        while True:
            for name, daemon in self.daemons.items():
                if (code := daemon.poll()) is not None:
                    raise NoCluster(f"{name} ended with exit code {code}: {self._last_line(name)}")
            with suppress(NoCluster):
                if reached():
                    return
            if time.monotonic() > end:
                told = "; ".join(f"{name}: {self._last_line(name)}" for name in self.daemons)
                raise NoCluster(f"{trouble} after {START_S:.0f} s: {told}")
            time.sleep(0.05)

    def _last_line(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "nothing in its log"


def missing() -> list[str]:
    """Programs of Slurm that are not installed."""
    return [name for name in PROGRAMS if _path(name) == name]


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Raises NoCluster: it does not come up."""
    folder = Path(tempfile.mkdtemp(prefix="maelio-slurm-"))  # short: a socket's path has 107 bytes at most
    made = Cluster(
        folder,
        {"SLURM_CONF": str(folder / "slurm.conf"), "MUNGE_SOCKET": str(folder / "munge.socket")},
    )
    try:
        _configure(folder)
        made.start(
            "munged", _path("munged"), "--foreground", "--force", f"--key-file={folder}/munge.key",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
            f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munged-own.log", "--num-threads=2",
        )  # fmt: skip
        made.wait((folder / "munge.socket").is_socket, "no socket of munged")
        made.start("slurmctld", _path("slurmctld"), "-D", "-i")
        for node in NODES:
            made.start_node(node)
        made.wait_until_up()
        yield made
    finally:
        for daemon in made.daemons.values():  # nothing of theirs outlives the folder
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(daemon.pid).children(recursive=True):
                    child.kill()
            daemon.kill()
            daemon.wait()
        for node in NODES:
            made.kill_steps(node)
        shutil.rmtree(folder)


def _configure(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "state").mkdir()
    for node in NODES:
        (folder / f"spool-{node}").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(host=host, folder=folder, user=getuser(), ports=_free_ports(1 + len(NODES)))
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")


def _path(program: str) -> str:
    """Debian keeps daemons out of a user's PATH."""
    return (
        shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")
        or program
    )


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _runs_on(process: psutil.Process, node: str, folder: Path) -> bool:
    try:
        environment = process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
    return environment.get("SLURMD_NODENAME") == node and environment.get("SLURM_CONF", "").startswith(
        str(folder)
    )


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except psutil.NoSuchProcess:
        return None


def _name(process: psutil.Process) -> str:
    try:
        name: str = process.name()
    except psutil.NoSuchProcess:
        return ""
    return name
