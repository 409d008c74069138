"""A stand-in for train.py: a curve that follows from its words, saved at every other step, and resumed.

It writes what the sweep reads of a run: config.yaml, run.json, metrics.csv, checkpoints/, result.json.
Imports little, so that it starts in 20 ms.
"""

import json
import os
import sys
import time

words = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
if "resume" in words:
    run = words["resume"]
    with open(f"{run}/config.yaml") as file:
        words = json.load(file)
else:
    run = f"{words['output_dir']}/{words['run_id']}"
    os.makedirs(run, exist_ok=True)
    if os.path.exists(f"{run}/config.yaml"):
        sys.exit(f"error: {run} exists")
    for name, content in (("config.yaml", words), ("run.json", {})):
        with open(f"{run}/{name}.tmp", "w") as file:
            json.dump(content, file)
        os.replace(f"{run}/{name}.tmp", f"{run}/{name}")
os.makedirs(f"{run}/checkpoints", exist_ok=True)
with open(f"{run}/starts", "a") as file:
    print(
        " ".join(sys.argv[1:]),
        os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        sorted(os.sched_getaffinity(0)),
        file=file,
    )
if "fail" in words and not os.path.exists(words["fail"]):
    print("something is wrong")
    sys.exit(3)

if float(words.get("x", 0)) > float(words.get("diverge", "inf")):
    print("error: step 3: the gradient is not finite")
    sys.exit(33)

saved = sorted(os.listdir(f"{run}/checkpoints"))
step = int(saved[-1]) if saved else 0
x, seed, steps = float(words.get("x", 0)), int(words.get("seed", 0)), int(words.get("steps", 6))
rows = []
if os.path.exists(f"{run}/metrics.csv"):
    with open(f"{run}/metrics.csv") as file:
        rows = file.read().splitlines()[1 : step + 1]
while step < steps:
    time.sleep(float(words.get("pause", 0.02)))
    step += 1
    rows.append(f"{step},{abs(x - 0.3) + 1 / step + 0.01 * seed!r}")
    with open(f"{run}/metrics.tmp", "w") as file:
        file.write("\n".join(["step,loss", *rows]) + "\n")
    os.replace(f"{run}/metrics.tmp", f"{run}/metrics.csv")
    if step % 2 == 0:
        open(f"{run}/checkpoints/{step:04d}", "w").close()
with open(f"{run}/result.tmp", "w") as file:
    json.dump({"loss": float(rows[-1].split(",")[1]), "steps": steps}, file)
os.replace(f"{run}/result.tmp", f"{run}/result.json")
