# What `check_gpu.sh` and `check_nccl.sh` share. They source it in the root of the tree.

# pack FOLDER NAME FILE: strips and compresses a program into a folder.
pack() { mkdir -p "$1" && strip -o "$1/$2" "$3" && xz -9 --force "$1/$2"; }

# prepare FOLDER NAME...: the programs, from PROGRAMS or packed in the folder, are in `work` afterwards, and find libtorch.
prepare() {
  local folder=$1 name found
  shift
  deadline=470
  failed=()
  work=$(mktemp -d)
  logs=${OUT:-$work/logs}
  mkdir -p "$logs"
  for name in "$@"; do
    if [ -n "${PROGRAMS:-}" ]; then
      ln -s "$(realpath "$PROGRAMS")/$name" "$work/$name"
    else
      xz -dc "$folder/$name.xz" > "$work/$name" && chmod +x "$work/$name"
    fi
  done
  # The programs look where they were built; here libtorch is that of Python.
  python=${PYTHON:-python3}
  found=$("$python" -c 'import os, torch; print(torch.__version__, os.path.join(os.path.dirname(torch.__file__), "lib"))')
  version=${found%% *}
  export LD_LIBRARY_PATH=${found#* } RUST_BACKTRACE=0
  case $version in
    2.11.*) ;;
    *) echo "torch is $version; the programs need 2.11"; exit 1 ;;
  esac
}

# finish: names what failed. Its status is the script's.
finish() {
  local line
  echo "done at $SECONDS s, logs in $logs"
  for line in "${failed[@]:-}"; do [ -z "$line" ] || echo "FAILED $line"; done
  [ ${#failed[@]} -eq 0 ]
}
