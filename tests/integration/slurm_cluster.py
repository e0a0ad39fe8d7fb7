"""A SLURM of one node on this machine, from configuration to the last process, in one folder of its own.

``python tests/integration/slurm_cluster.py [FOLDER]`` starts one and keeps it up until Ctrl-C; ``study_on_slurm.py``
uses it for its scenario. Everything is private to the folder: key, sockets, spool, logs, ports, configuration
(``SLURM_CONF``), so that a SLURM that runs on the machine anyway is neither used nor disturbed. No accounting, as on
many small clusters.
"""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
INSTALL = "apt-get install slurm-wlm munge"
DAEMON_FOLDERS = "/usr/sbin:/usr/local/sbin"

CONFIGURATION = """\
ClusterName=reca
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=300
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """What this machine lacks for a cluster, a sentence each."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("expected to run as root: slurmd starts jobs and munged changes its user")
    path = f"{os.environ.get('PATH', '')}:{DAEMON_FOLDERS}"
    programs = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if programs:
        lacks.append(f"expected {', '.join(programs)} to be installed: {INSTALL}")
    return lacks


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


class Cluster:
    """Context manager: munged, slurmctld and slurmd run inside, and nothing of them afterwards.

    Args:
        folder: where everything is written; made if needed, and readable by all, as munge's socket must be.
        cpus: CPUs of the node, whatever the machine has.
        gpus: pretended GPUs (null devices), so that requests for GPUs can be seen going through.
        memory_mb: memory of the node.
    """

    def __init__(self, folder: Path, *, cpus: int = 2, gpus: int = 2, memory_mb: int = 16000) -> None:
        self.folder = folder.resolve()
        self.cpus, self.gpus, self.memory_mb = cpus, gpus, memory_mb
        self.daemons: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which SLURM's commands, and whatever calls them, find this cluster."""
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', '')}:{DAEMON_FOLDERS}"
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return {**outside, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> Self:
        """Write the configuration and start the daemons; RuntimeError with their logs if they do not come up."""
        self._write()
        munge = self.folder / "munge"
        files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
        subprocess.run(
            ["mungekey", "--create", f"--keyfile={munge / 'key'}"], user="munge", env=self.environment, check=True
        )
        options = [f"--{option}={munge / name}" for option, name in files.items()]
        try:
            self._start("munged", "--foreground", *options, user="munge")
            self._wait("munged", (munge / "socket").exists)
            self._start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
            self._start("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
            self._wait("the node", lambda: self.ask("sinfo", "--noheader", "--format=%T") == "idle")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _write(self) -> None:
        for name in ("state", "spool", "munge", "devices", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        shutil.chown(self.folder / "munge", "munge", "munge")
        for name in ("key", "socket", "socket.lock"):
            (self.folder / "munge" / name).unlink(missing_ok=True)
        devices = [self.folder / "devices" / f"nvidia{index}" for index in range(self.gpus)]
        for device in devices:  # SLURM wants a device, any
            device.unlink(missing_ok=True)
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        # Snakemake's plug-in drops SLURM_CONF before it calls srun inside of a job
        wrapped = self.folder / "bin" / "srun"
        wrapped.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        wrapped.chmod(0o755)
        controller_port, node_port = free_ports(2)
        values = {"host": socket.gethostname().partition(".")[0], "folder": self.folder, "cpus": self.cpus}
        values |= {"gpus": self.gpus, "memory_mb": self.memory_mb}
        values |= {"controller_port": controller_port, "node_port": node_port}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
        (self.folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in devices))

    def _start(self, program: str, *options: str, user: str | None = None) -> None:
        with (self.folder / f"{program}.out").open("wb") as out:
            started = subprocess.Popen(
                [program, *options], user=user, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        self.daemons.append(started)

    def _wait(self, what: str, ready, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self.daemons):
                logs = [*self.folder.glob("*.out"), *self.folder.glob("*.log"), *self.folder.glob("munge/log")]
                ends = "\n".join(f"{log}:\n{log.read_text()[-1500:]}" for log in logs)
                raise RuntimeError(f"{what} did not come up within {seconds:.0f} s\n{ends}")
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        """What a SLURM command prints, stripped; empty where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        return done.stdout.strip() if done.returncode == 0 else ""

    def jobs(self, states: str = "all") -> dict[str, tuple[str, str]]:
        """State and comment (rule and wildcards, where Snakemake submitted it) of each job."""
        lines = self.ask("squeue", "--noheader", f"--states={states}", "--format=%i|%T|%k").splitlines()
        return {number: (state, comment) for number, state, comment in (line.split("|", 2) for line in lines)}

    def processes(self) -> dict[int, dict[str, str]]:
        """Environment of every process that knows this cluster, by process id: daemons, job steps, jobs, submitters."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                entries = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:  # ended meanwhile, or a kernel thread
                continue
            environment = dict(entry.partition("=")[::2] for entry in entries if entry)
            if environment.get("SLURM_CONF") == str(self.folder / "slurm.conf"):
                found[int(folder.name)] = environment
        return found

    def stop(self) -> None:
        """Cancel all jobs, then end the daemons that were started here and whatever is left of the jobs."""
        if len(self.daemons) > 1:
            self.ask("scancel", "--user=root", "--signal=KILL", "--full")
            self.ask("scancel", "--user=root")
            end = time.monotonic() + 20
            while self.jobs("pending,running,completing") and time.monotonic() < end:
                time.sleep(0.5)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons = []
        for process in self.processes():
            if process != os.getpid():
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def main() -> int:
    lacks = missing()
    if lacks:
        print("\n".join(f"slurm_cluster.py: {sentence}" for sentence in lacks), file=sys.stderr)
        return 2
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    folder = chosen or Path(tempfile.mkdtemp(prefix="nnunet_reca_slurm."))
    try:
        with Cluster(folder):
            print(f"export SLURM_CONF={folder.resolve()}/slurm.conf PATH={folder.resolve()}/bin:$PATH", flush=True)
            print("runs until Ctrl-C", flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        if chosen is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
