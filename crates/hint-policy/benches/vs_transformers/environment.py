"""Makes the Python environment of the transformers side in the cache folder, on first use, and prints its Python.

Its torch is the one of `cargo xtask setup`.
"""

import os
import pathlib
import subprocess
import sys

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


def run(*command):
    subprocess.run(command, check=True, stdout=sys.stderr)


cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "hint-rl"
folder = cache / "vs-transformers" / "env"
python, complete = folder / "bin" / "python", folder / "complete"
if not complete.is_file():
    run(sys.executable, "-m", "venv", folder)
    # transformers would bring a torch of its own.
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "transformers==4.57.1")
    run(python, "-m", "pip", "install", "--quiet", *PACKAGES)
    site = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = subprocess.run(site, check=True, capture_output=True, text=True).stdout.strip()
    pathlib.Path(site, "torch.pth").write_text(f"{cache / 'torch-2.11.0'}\n")
    complete.touch()
print(python)
