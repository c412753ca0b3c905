"""Makes a Python environment of the other side in the cache folder, on first use, and prints its Python.

Its argument names it: `vs-transformers` (by default), or `vs-trl`, which has TRL as well. Its torch is the one of `cargo
xtask setup`.
"""

import os
import pathlib
import subprocess
import sys

# They would bring a torch of their own.
WITHOUT_DEPENDENCIES = {
    "vs-transformers": ["transformers==4.57.1"],
    "vs-trl": ["transformers==4.57.1", "trl==1.16.0", "accelerate==1.15.0"],
}
PACKAGES = [
    "numpy",
    "safetensors",
    "tokenizers>=0.22,<=0.23.0",
    "huggingface-hub<1.0",
    "regex",
    "pyyaml",
    "requests",
    "tqdm",
    "packaging",
    "filelock",
]
FURTHER = {"vs-transformers": [], "vs-trl": ["datasets==4.8.5", "jinja2", "pandas", "psutil"]}


def run(*command):
    subprocess.run(command, check=True, stdout=sys.stderr)


name = sys.argv[1] if len(sys.argv) > 1 else "vs-transformers"
cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "hint-rl"
folder = cache / name / "env"
python, complete = folder / "bin" / "python", folder / "complete"
if not complete.is_file():
    run(sys.executable, "-m", "venv", folder)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", *WITHOUT_DEPENDENCIES[name])
    run(python, "-m", "pip", "install", "--quiet", *PACKAGES, *FURTHER[name])
    site = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = subprocess.run(site, check=True, capture_output=True, text=True).stdout.strip()
    pathlib.Path(site, "torch.pth").write_text(f"{cache / 'torch-2.11.0'}\n")
    complete.touch()
print(python)
