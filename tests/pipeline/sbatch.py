"""A scheduler of one machine: `sbatch`, `srun` and `scontrol` as scripts, which run what is submitted at once.

As SLURM does, a job is not run where one that it waits for failed; an array runs its script once for each task. `srun`
starts its command once for each node, all at a time.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path

room, options, script = Path({room!r}), sys.argv[1:-1], Path(sys.argv[-1])
text = script.read_text()
asked = dict(re.findall(r"^#SBATCH --([\\w-]+)=(.*)$", text, re.M)) | dict(
    option[2:].split("=", 1) for option in options if "=" in option
)
number = len(list(room.glob("*.job"))) + 100
rcs = []
waits = [rule.split(":") for rule in filter(None, asked.get("dependency", "").split(","))]
ended = {{name: (room / f"{{name}}.job").read_text().split()[0] for _, name in waits}}
blocked = any(kind == "afterok" and ended[name] != "0" for kind, name in waits)
tasks = range(int(asked["array"].split("-")[1]) + 1) if "array" in asked else [None]
for task in () if blocked else tasks:
    given = {{"SLURM_JOB_ID": str(number), "SLURM_NNODES": asked["nodes"], "SLURM_JOB_NODELIST": "localhost"}}
    if task is not None:
        given |= {{"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_JOB_ID": str(number)}}
    log = asked["output"].replace("%x", asked["job-name"]).replace("%A", str(number)).replace("%a", str(task))
    with open(log.replace("%j", str(number)), "w") as out:
        ran = subprocess.run(["bash", str(script)], env={{**os.environ, **given}}, stdout=out, stderr=out)
    rcs.append(ran.returncode)
told = "never" if blocked else str(max(rcs))
(room / f"{{number}}.job").write_text(f"{{told}} {{script.stem}} {{' '.join(options)}}")
print(f"{{number}};cluster" if "--parsable" in options else f"Submitted batch job {{number}}")
"""
_SRUN = """#!{python}
import os, subprocess, sys

command = [part for part in sys.argv[1:]]
while command[0].startswith("--"):
    command.pop(0)
nodes = [subprocess.Popen(command) for _ in range(int(os.environ["SLURM_NNODES"]))]
sys.exit(max(node.wait() for node in nodes))
"""
_SCONTROL = "#!/bin/bash\necho localhost\n"


def install(room: Path) -> None:
    """Writes the scripts into `room/bin`; what was submitted is told in `room/*.job`: exit code, script, options."""
    (room / "bin").mkdir(parents=True)
    for name, text in {"sbatch": _SBATCH, "srun": _SRUN, "scontrol": _SCONTROL}.items():
        path = room / "bin" / name
        path.write_text(text.format(python=sys.executable, room=str(room)) if name != "scontrol" else text)
        path.chmod(0o755)


def submitted(room: Path) -> dict[str, tuple[str, str]]:
    """Name of every job, in the order in which they were submitted: its exit code (or `never`) and its options."""
    told = [path.read_text().split(" ", 2) for path in sorted(room.glob("*.job"), key=lambda path: int(path.stem))]
    return {name: (code, options) for code, name, options in told}
